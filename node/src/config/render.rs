//! Settings as the TOML file that would give them.

use std::fmt::Write as _;

use super::settings::Settings;

impl Settings {
    /// These settings as a TOML file. Loading it gives the same settings.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        let mut line = |key: &str, value: toml::Value| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{key} = {value}");
        };
        let number =
            |value: u64| i64::try_from(value).map_or_else(|_| value.to_string().into(), toml::Value::from);
        line("node_id", number(self.node_id));
        line("cluster_name", self.cluster_name.clone().into());
        line("data_dir", self.data_dir.display().to_string().into());
        line("client_listen", self.client_listen.to_string().into());
        line("peer_listen", self.peer_listen.to_string().into());
        line("admin_listen", self.admin_listen.to_string().into());
        line("advertise_client", self.advertised_client(self.client_listen).into());
        line("advertise_peer", self.advertised_peer(self.peer_listen).into());
        line("advertise_admin", self.advertised_admin(self.admin_listen).into());
        let members = self.bootstrap_members(self.peer_listen);
        let members: Vec<_> = members.iter().map(|(id, address)| format!("{id}={address}")).collect();
        line("members", members.join(",").into());
        line("timing", self.timing.to_string().into());
        line("read_mode", self.read_mode.to_string().into());
        line("insecure", self.insecure.into());
        line("log_format", self.log_format.to_string().into());
        line("log_level", self.log_level.clone().into());
        line("log_budget_bytes", number(self.log_budget_bytes));
        line("in_flight_bytes", number(self.in_flight_bytes));
        line("session_cache_bytes", number(self.session_cache_bytes));
        line("clock_offset_ms", self.clock_offset_ms.into());
        line("log_prefill_bytes", number(self.log_prefill_bytes));
        line("log_entries_kept", number(self.log_entries_kept));
        text
    }
}
