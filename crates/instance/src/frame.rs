//! Frames on a unix socket: a little-endian 32-bit length, then JSON. File descriptors may travel with them.
//!
//! Sizes are bounded both ways: a peer that sends too much, or does not read, loses its connection.
use crate::{Error, Result, error::Trying};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde::{Serialize, de::DeserializeOwned};
use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// The largest frame, in bytes.
const MAX_FRAME: usize = 1 << 20;
/// The most that waits for a slow reader.
const MAX_QUEUED: usize = 8 << 20;
/// The most descriptors that are taken before a frame claims them.
const MAX_DESCRIPTORS: usize = crate::spec::MAX_PORTS;

/// One end of a connection, never blocking unless asked to wait.
pub(crate) struct Connection {
    stream: UnixStream,
    input: Vec<u8>,
    output: VecDeque<u8>,
    descriptors: VecDeque<OwnedFd>,
    open: bool,
}

impl Connection {
    pub(crate) fn new(stream: UnixStream) -> Result<Self> {
        stream.set_nonblocking(true).trying("set a socket non-blocking")?;
        Ok(Self {
            stream,
            input: Vec::new(),
            output: VecDeque::new(),
            descriptors: VecDeque::new(),
            open: true,
        })
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    pub(crate) fn wants_write(&self) -> bool {
        self.open && !self.output.is_empty()
    }

    /// The next descriptor that came with the frames so far.
    pub(crate) fn take_descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptors.pop_front()
    }

    /// Reads what is there; an end or an error closes the connection.
    pub(crate) fn fill(&mut self) {
        let mut bytes = [0_u8; 16 * 1024];
        while self.open && self.input.len() <= MAX_FRAME + 4 {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            match rustix::net::recvmsg(
                &self.stream,
                &mut [IoSliceMut::new(&mut bytes)],
                &mut control,
                RecvFlags::CMSG_CLOEXEC,
            ) {
                Ok(message) => {
                    for part in control.drain() {
                        if let RecvAncillaryMessage::ScmRights(descriptors) = part {
                            // What is beyond the bound is dropped, which closes it.
                            let room = MAX_DESCRIPTORS - self.descriptors.len();
                            self.descriptors.extend(descriptors.take(room));
                        }
                    }
                    if message.bytes == 0 {
                        self.open = false;
                    }
                    self.input
                        .extend_from_slice(bytes.get(..message.bytes).unwrap_or_default());
                }
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(_) => self.open = false,
            }
        }
    }

    /// The next whole frame. One that is not understood closes the connection.
    pub(crate) fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        let Some(length) = self.input.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*length) as usize;
        if length > MAX_FRAME {
            self.open = false;
            self.input.clear();
            return Err(Error::Protocol(format!(
                "a frame of {length} bytes, the most is {MAX_FRAME}"
            )));
        }
        let Some(body) = self.input.get(4..4 + length) else {
            return Ok(None);
        };
        let value = serde_json::from_slice(body);
        self.input.drain(..4 + length);
        match value {
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                self.open = false;
                self.input.clear();
                Err(Error::Protocol(error.to_string()))
            }
        }
    }

    /// Queues a frame and sends as much as goes at once.
    pub(crate) fn queue<T: Serialize>(&mut self, value: &T) {
        let Ok(body) = serde_json::to_vec(value) else {
            return;
        };
        if body.len() > MAX_FRAME || self.output.len() + body.len() > MAX_QUEUED {
            self.open = false;
            return;
        }
        self.output.extend((body.len() as u32).to_le_bytes());
        self.output.extend(body);
        self.flush();
    }

    /// Sends what goes at once.
    pub(crate) fn flush(&mut self) {
        while self.wants_write() {
            match rustix::net::send(&self.stream, self.output.as_slices().0, SendFlags::NOSIGNAL) {
                Ok(sent) => drop(self.output.drain(..sent)),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(_) => self.open = false,
            }
        }
    }

    /// Sends a frame together with descriptors; only on a connection with nothing queued.
    pub(crate) fn send_with<T: Serialize>(
        &mut self,
        value: &T,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<()> {
        let body = serde_json::to_vec(value).trying("encode a message")?;
        let mut bytes = (body.len() as u32).to_le_bytes().to_vec();
        bytes.extend(body);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(Error::Protocol(format!(
                "{} descriptors in one message",
                descriptors.len()
            )));
        }
        let sent = rustix::net::sendmsg(
            &self.stream,
            &[IoSlice::new(&bytes)],
            &mut control,
            SendFlags::NOSIGNAL,
        )
        .trying("send a message")?;
        self.output.extend(bytes.get(sent..).unwrap_or_default());
        self.flush();
        Ok(())
    }

    /// Waits for the next frame until `deadline` (for ever if `None`); `Ok(None)` when the other side closed.
    pub(crate) fn wait<T: DeserializeOwned>(&mut self, deadline: Option<Instant>) -> Result<Option<T>> {
        loop {
            if let Some(value) = self.next()? {
                return Ok(Some(value));
            }
            if !self.open {
                return Ok(None);
            }
            let left = match deadline {
                None => None,
                Some(deadline) => match deadline.checked_duration_since(Instant::now()) {
                    Some(left) => Some(left),
                    None => {
                        return Err(Error::Deadline {
                            what: "an answer".into(),
                            seconds: 0,
                        });
                    }
                },
            };
            let interest = if self.wants_write() {
                rustix::event::PollFlags::OUT
            } else {
                rustix::event::PollFlags::empty()
            };
            let mut polled = [rustix::event::PollFd::new(
                &self.stream,
                rustix::event::PollFlags::IN | interest,
            )];
            poll(&mut polled, left)?;
            self.flush();
            self.fill();
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// poll(2), taken up again after a signal; returns early then, which every caller treats as "look again".
pub(crate) fn poll(polled: &mut [rustix::event::PollFd<'_>], timeout: Option<Duration>) -> Result<usize> {
    let timeout = timeout.map(|left| rustix::event::Timespec {
        tv_sec: left.as_secs() as i64,
        tv_nsec: i64::from(left.subsec_nanos()),
    });
    match rustix::event::poll(polled, timeout.as_ref()) {
        Ok(ready) => Ok(ready),
        Err(Errno::INTR) => Ok(0),
        Err(error) => Err(Error::io("poll", error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_whole_and_in_order_with_their_descriptors() {
        let (a, b) = UnixStream::pair().unwrap();
        let (mut a, mut b) = (Connection::new(a).unwrap(), Connection::new(b).unwrap());
        let file = std::fs::File::open("/dev/null").unwrap();
        a.queue(&"one");
        a.send_with(&"two", &[file.as_fd()]).unwrap();
        assert_eq!(b.wait::<String>(None).unwrap().as_deref(), Some("one"));
        assert_eq!(b.wait::<String>(None).unwrap().as_deref(), Some("two"));
        assert!(b.take_descriptor().is_some());
        drop(a);
        assert_eq!(b.wait::<String>(None).unwrap(), None);
    }

    #[test]
    fn an_oversized_or_broken_frame_closes_the_connection() {
        for bytes in [&[0xff_u8; 8][..], &[2, 0, 0, 0, b'{', b'{'][..]] {
            let (a, b) = UnixStream::pair().unwrap();
            std::io::Write::write_all(&mut &a, bytes).unwrap();
            let mut b = Connection::new(b).unwrap();
            assert!(b.wait::<String>(None).is_err());
            assert!(!b.is_open());
        }
    }

    #[test]
    fn a_peer_that_does_not_read_loses_its_connection() {
        let (a, _b) = UnixStream::pair().unwrap();
        let mut a = Connection::new(a).unwrap();
        let big = "x".repeat(MAX_FRAME / 2);
        for _ in 0..64 {
            a.queue(&big);
        }
        assert!(!a.is_open());
    }
}
