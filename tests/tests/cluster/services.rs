use quorate_tests::{HarnessError, PATIENCE, channel, is_ready, until};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

use crate::common::{Outcome, three};

async fn health(address: std::net::SocketAddrV4, service: &str) -> Result<HealthCheckResponse, HarnessError> {
    let mut client = HealthClient::new(channel(address).await?);
    Ok(client.check(HealthCheckRequest { service: service.to_owned() }).await?.into_inner())
}

#[tokio::test]
async fn health_follows_readiness() -> Outcome {
    let mut cluster = three().await?;
    for id in cluster.ids() {
        let ports = cluster.ports(id)?;
        assert!(is_ready(ports.admin).await, "node {id}");
        for service in ["", "quorate.v1.Sessions"] {
            assert_eq!(
                health(ports.client, service).await?.status(),
                ServingStatus::Serving,
                "node {id} {service:?}"
            );
        }
    }
    // Alone it knows no leader that a quorum follows.
    let alone = cluster.a_follower().await?;
    for id in cluster.ids().into_iter().filter(|id| *id != alone) {
        cluster.node_mut(id)?.kill()?;
    }
    let ports = cluster.ports(alone)?;
    until("readiness is withdrawn", PATIENCE, || async {
        if is_ready(ports.admin).await { Err("ready".to_owned()) } else { Ok(()) }
    })
    .await?;
    until("the health service says so", PATIENCE, || async {
        let status = health(ports.client, "").await.map_err(|error| error.to_string())?.status();
        if status == ServingStatus::NotServing { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await?;
    cluster.start_all()?;
    cluster.wait_ready_all().await?;
    Ok(())
}

#[tokio::test]
async fn reflection_describes_the_services() -> Outcome {
    let cluster = three().await?;
    let mut client = ServerReflectionClient::new(channel(cluster.ports(1)?.client).await?);
    let ask = |message| ServerReflectionRequest { host: String::new(), message_request: Some(message) };
    let questions = [
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol("quorate.v1.Sessions".to_owned())),
    ];
    let mut answers = client.server_reflection_info(tokio_stream::iter(questions)).await?.into_inner();
    let mut next = async || -> Result<MessageResponse, Box<dyn std::error::Error>> {
        let answer: ServerReflectionResponse = answers.message().await?.ok_or("the stream ended")?;
        Ok(answer.message_response.ok_or("an empty answer")?)
    };
    let MessageResponse::ListServicesResponse(list) = next().await? else { return Err("no list".into()) };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    for wanted in ["quorate.v1.Sessions", "quorate.v1.Cluster", "grpc.health.v1.Health"] {
        assert!(names.iter().any(|name| name == wanted), "{wanted} is not in {names:?}");
    }
    let MessageResponse::FileDescriptorResponse(files) = next().await? else {
        return Err("no description".into());
    };
    assert!(!files.file_descriptor_proto.is_empty());
    Ok(())
}
