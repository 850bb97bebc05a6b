//! Accepted connections that a node can close. tonic serves each in a task of its own, which ends once its client has
//! ended it: by one that reads nothing, a stopped node's services would live on, and with them its state.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::{Stream, TryStreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::{Connected, TcpIncoming};

/// A connection, until it is closed from this side.
pub(crate) struct Connection<T> {
    stream: TcpStream,
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
    shared: T,
}

/// Accepts connections; all of them fail once `close` is cancelled. Each has a `T` that its calls share, in their
/// extensions.
pub(crate) fn incoming<T: Default>(
    listener: TcpListener,
    close: CancellationToken,
) -> impl Stream<Item = io::Result<Connection<T>>> {
    // Without nodelay small answers wait for the other side's delayed acknowledgement: 40 ms now and then.
    TcpIncoming::from(listener).with_nodelay(Some(true)).map_ok(move |stream| Connection {
        stream,
        // A token of its own: all connections would look at one under one lock.
        closed: Box::pin(close.child_token().cancelled_owned()),
        shared: T::default(),
    })
}

impl<T> Connection<T> {
    fn check_open(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.closed.as_mut().poll(cx).is_pending() {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::ConnectionAborted, "this node has closed the connection"))
    }
}

impl<T: Clone + Send + Sync + 'static> Connected for Connection<T> {
    type ConnectInfo = T;

    fn connect_info(&self) -> T {
        self.shared.clone()
    }
}

impl<T: Unpin> AsyncRead for Connection<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_open(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl<T: Unpin> AsyncWrite for Connection<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check_open(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check_open(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
