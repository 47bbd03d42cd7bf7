//! A channel over which the server and the relay pass each other connections (`SCM_RIGHTS`, unix(7)).
//!
//! Neither end has a name, in the file system or elsewhere: apart from the two processes, nothing can connect to
//! chromedriver or its browsers, whichever user it runs as.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// The byte that accompanies each connection. The kernel keeps each byte and its descriptors together, so reading one
/// byte yields one connection; no byte means the end.
const WORD: [u8; 1] = [b'+'];

/// An end of the channel.
#[derive(Debug)]
pub(super) struct ConnectionChannel(UnixStream);

impl ConnectionChannel {
    /// Creates both ends: ours, and the one for the other process.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = StdUnixStream::pair()?;
        Ok((Self::new(ours.into())?, theirs.into()))
    }

    /// Returns the end that the other process passed to this one.
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        let socket = StdUnixStream::from(socket);
        socket.set_nonblocking(true)?;
        Ok(Self(UnixStream::from_std(socket)?))
    }

    /// Passes a new connection to the other process, and returns our end of it.
    ///
    /// # Errors
    /// Returns an error if the other process is gone.
    pub(super) async fn connect(&self) -> io::Result<UnixStream> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        theirs.set_nonblocking(true)?;
        self.0.async_io(Interest::WRITABLE, || give(&self.0, &theirs)).await?;
        UnixStream::from_std(ours)
    }

    /// Returns the next connection from the other process; `None` if it is gone.
    pub(super) async fn accept(&self) -> io::Result<Option<UnixStream>> {
        let taken = self.0.async_io(Interest::READABLE, || take(&self.0)).await?;
        taken.map(|taken| UnixStream::from_std(StdUnixStream::from(taken))).transpose()
    }
}

fn give(socket: &UnixStream, connection: &StdUnixStream) -> io::Result<()> {
    let given = [connection.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !beside.push(SendAncillaryMessage::ScmRights(&given)) {
        return Err(io::Error::other("the message has no space for a file descriptor"));
    }
    // If the process is gone, this is an error and not a signal.
    sendmsg(socket, &[IoSlice::new(&WORD)], &mut beside, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?;
    Ok(())
}

fn take(socket: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut word = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = recvmsg(socket, &mut [IoSliceMut::new(&mut word)], &mut beside, flags)?;
    let given = beside.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut given) => given.next(),
        _ => None,
    });
    match (received.bytes, given) {
        (0, _) => Ok(None),
        (_, Some(connection)) => Ok(Some(connection)),
        (_, None) => Err(io::Error::other("received a message without its file descriptor")),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn connections_go_both_ways_until_an_end_is_gone() {
        let (one, other) = ConnectionChannel::pair().unwrap();
        let other = ConnectionChannel::new(other).unwrap();
        for (from, to) in [(&one, &other), (&other, &one)] {
            for word in ["first", "second"] {
                let mut ours = from.connect().await.unwrap();
                let mut theirs = to.accept().await.unwrap().unwrap();
                ours.write_all(word.as_bytes()).await.unwrap();
                drop(ours);
                let mut heard = String::new();
                theirs.read_to_string(&mut heard).await.unwrap();
                assert_eq!(heard, word);
            }
        }
        drop(other);
        assert!(one.accept().await.unwrap().is_none());
        assert!(one.connect().await.is_err());
    }
}
