//! Compiles the .proto files with protox, so that no protoc is needed.
use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "quorate/v1/types.proto",
        "quorate/v1/watch.proto",
        "quorate/v1/namespaces.proto",
        "quorate/v1/sessions.proto",
        "quorate/v1/cluster.proto",
        "quorate/peer/v1/peer.proto",
    ]
    .map(|file| format!("proto/{file}"));
    let descriptors = protox::compile(&files, ["proto"])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".").btree_map(".").compile_fds(descriptors)?;
    for file in files {
        println!("cargo:rerun-if-changed={file}");
    }
    Ok(())
}
