//! Datagrams there and back, one after the other: each that is lost is missed, since none is sent again.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use super::socket::{DEADLINE, delivers};

/// Who sends, to whom, and who receives it and answers.
pub struct Lockstep(pub Vec<(UdpSocket, IpAddr, UdpSocket)>);

/// Ends what goes on beside, also where a test fails meanwhile.
struct Until<'a>(&'a AtomicBool);

impl Drop for Until<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Lockstep {
    /// So many datagrams there and back between each pair.
    pub fn exchange(&self, count: usize) {
        for n in 0..count {
            for (near, to, far) in &self.0 {
                let seen = delivers(near, *to, far, &n.to_le_bytes());
                far.send_to(&n.to_le_bytes(), seen).unwrap();
                let from = SocketAddr::new(*to, far.local_addr().unwrap().port());
                let mut buffer = [0; 16];
                assert_eq!(near.recv_from(&mut buffer).unwrap(), (8, from));
            }
        }
    }

    /// Goes on while `steps` does something; what it is given returns when some more went through. How many rounds there
    /// were.
    pub fn goes_on_while(&self, steps: impl FnOnce(&dyn Fn())) -> usize {
        let (done, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    self.exchange(1);
                    rounds.fetch_add(1, Ordering::Release);
                }
            });
            let _until = Until(&done);
            steps(&|| {
                let from = rounds.load(Ordering::Acquire);
                let start = Instant::now();
                while rounds.load(Ordering::Acquire) < from + 20 {
                    assert!(start.elapsed() < DEADLINE);
                    std::thread::yield_now();
                }
            });
        });
        rounds.load(Ordering::Acquire)
    }
}
