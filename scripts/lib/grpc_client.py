"""A stock gRPC client against Quorate: no generated code, everything learnt through server reflection.

usage: grpc_client.py HOST:PORT HOST:PORT HOST:PORT

Creates and reads a session through a follower, and checks what an error tells. Exits 0 when all is as documented.
"""

import sys

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status

TIMEOUT_S = 10


class Node:
    """One node, called with messages that a reflection service described."""

    def __init__(self, address, pool):
        self.address = address
        self.channel = grpc.insecure_channel(address)
        self.pool = pool

    def call(self, method, metadata=(), **fields):
        """Calls `package.Service/Method` with a request of these fields."""
        service, name = method.split("/")
        described = self.pool.FindServiceByName(service).methods_by_name[name]
        request = message_factory.GetMessageClass(described.input_type)(**fields)
        answer = message_factory.GetMessageClass(described.output_type)
        stub = self.channel.unary_unary(
            f"/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        return stub(request, timeout=TIMEOUT_S, metadata=metadata)

    def refusal(self, method, metadata=(), **fields):
        """Calls and returns the code and the google.rpc.ErrorInfo of the error that must come."""
        try:
            self.call(method, metadata, **fields)
        except grpc.RpcError as error:
            status = rpc_status.from_call(error)
            assert status is not None, f"{method}: {error.code()} without details"
            for detail in status.details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info):
                    return error.code(), info
            raise AssertionError(f"{method}: {error.code()} without an ErrorInfo")
        raise AssertionError(f"{method} was not refused")


passed = 0


def check(what, found, wanted):
    global passed
    assert found == wanted, f"{what}: found {found!r}, wanted {wanted!r}"
    print(f"  ok  {what}")
    passed += 1


def main(addresses):
    database = ProtoReflectionDescriptorDatabase(grpc.insecure_channel(addresses[-1]))
    services = set(database.get_services())
    pool = descriptor_pool.DescriptorPool(database)
    nodes = [Node(address, pool) for address in addresses]
    for service in ("quorate.v1.Sessions", "quorate.v1.Cluster", "grpc.health.v1.Health"):
        check(f"reflection lists {service}", service in services, True)
    followers = []
    for node in nodes:
        status = node.call("quorate.v1.Cluster/Status")
        if status.leader not in (0, status.node):
            followers.append(node)
    assert followers, "no node says that it follows another"
    follower = followers[0]
    print(f"through the follower at {follower.address}:")

    health = follower.call("grpc.health.v1.Health/Check")
    check("health is SERVING", health.status, 1)
    created = follower.call("quorate.v1.Sessions/Create", attributes={"user": b"alice"}, principal="alice")
    check("a session is created", (len(created.id) >= 16, created.version), (True, 1))
    read = follower.call("quorate.v1.Sessions/Get", id=created.id)
    check("it is read back", dict(read.session.attributes), {"user": b"alice"})
    check("its principal too", read.session.principal, "alice")
    check("the answer names the handle, not the id", read.session.handle, created.handle)
    patched = follower.call("quorate.v1.Sessions/Write", id=created.id, patch={"set": {"cart": b"3 apples"}})
    check("it is patched", patched.version, 2)
    for node in nodes:
        local = node.call("quorate.v1.Sessions/Get", id=created.id, at_least=patched.position)
        check(f"{node.address} has it at that position", local.session.attributes["cart"], b"3 apples")

    code, info = follower.refusal("quorate.v1.Sessions/Get", id="0" * 43)
    check("an unknown session is NOT_FOUND", code, grpc.StatusCode.NOT_FOUND)
    told = (info.domain, info.reason, info.metadata["retryable"], info.metadata["maybe_applied"])
    check("and its ErrorInfo says so", told, ("quorate", "NOT_FOUND", "false", "false"))
    write = {"id": created.id, "patch": {"set": {"cart": b""}}, "if_version": 1}
    code, info = follower.refusal("quorate.v1.Sessions/Write", **write)
    check("another version is ABORTED", code, grpc.StatusCode.ABORTED)
    check("with the reason and the version", (info.reason, info.metadata["current_version"]), ("VERSION_CONFLICT", "2"))
    redirect = (("quorate-redirect", "true"),)
    code, info = follower.refusal("quorate.v1.Sessions/Delete", redirect, id=created.id)
    check("asked to redirect, it is UNAVAILABLE", code, grpc.StatusCode.UNAVAILABLE)
    check("with the leader's address", (info.reason, info.metadata["leader"] in addresses), ("NOT_LEADER", True))

    follower.call("quorate.v1.Sessions/Delete", id=created.id)
    code, _ = nodes[-1].refusal("quorate.v1.Sessions/Get", id=created.id)
    check("deleted, it is NOT_FOUND everywhere", code, grpc.StatusCode.NOT_FOUND)
    print(f"stock gRPC client: {passed} checks passed")


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(sys.argv[1:])
