//! The clear part of a connection that goes on in TLS: what comes behind the reply to STARTTLS, before TLS begins, breaks it.
//!
//! The mail library keeps what it has read, and would take such lines for the server's first words inside TLS: whoever sits in
//! between could make us believe that a message was taken. Source: <https://nostarttls.secvuln.info>.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

const STARTTLS: &[u8] = b"STARTTLS\r\n";

/// Words where there may be none.
#[derive(Debug)]
pub(super) struct Injected;

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("something was said between STARTTLS and TLS")
    }
}

impl std::error::Error for Injected {}

#[derive(Debug)]
pub(super) struct Guarded {
    stream: TcpStream,
    /// Between the command and the first bytes of TLS.
    awaits_reply: bool,
}

impl Guarded {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, awaits_reply: false }
    }
}

/// True when another line follows the last one of a reply (`220 …`; those before it are `220-…`).
fn goes_on(said: &[u8]) -> bool {
    let mut lines = said.split_inclusive(|byte| *byte == b'\n');
    let last = lines.by_ref().find(|line| line.get(3) != Some(&b'-') && line.ends_with(b"\n"));
    last.is_some() && lines.next().is_some()
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if self.awaits_reply && goes_on(&buffer.filled()[before..]) {
            return Poll::Ready(Err(io::Error::other(Injected)));
        }
        polled
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.awaits_reply = bytes == STARTTLS;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl AsyncTokioStream for Guarded {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_has_one_last_line_and_nothing_behind_it() {
        for (said, more) in [
            ("220 go\r\n", false),
            ("220-one\r\n220 two\r\n", false),
            ("220-one\r\n220 tw", false),
            ("", false),
            ("220 go\r\n250 ok\r\n", true),
            ("220 go\r\n\x16", true),
            ("220-one\r\n220 two\r\n250-x\r\n", true),
        ] {
            assert_eq!(goes_on(said.as_bytes()), more, "{said:?}");
        }
    }
}
