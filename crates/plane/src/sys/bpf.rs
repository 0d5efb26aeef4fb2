//! What aya has no call for: maps shared by mapping their memory, and links at tcx that others may hold too.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use crate::fast::layout::{
    Ask4, Ask6, Clock, Decision, Flow, Key4, Key6, Label, Made, Path, Port, Renewal, Tunnel, Verdict,
};

/// The memory of an array map with `BPF_F_MMAPABLE`.
pub(crate) struct SharedArray {
    start: NonNull<u8>,
    bytes: usize,
    stride: usize,
    length: usize,
}

// SAFETY: the mapping belongs to this value alone and may be used from whichever thread owns it.
unsafe impl Send for SharedArray {}

impl SharedArray {
    /// Maps the memory of a map of `length` values of `value` bytes each.
    pub(crate) fn new(map: BorrowedFd<'_>, length: u32, value: usize) -> io::Result<SharedArray> {
        // The kernel rounds values up to 8 bytes, and the whole up to pages.
        let (stride, length) = (value.next_multiple_of(8), length as usize);
        let bytes = (stride * length).next_multiple_of(rustix::param::page_size());
        // SAFETY: a new shared mapping of a map's memory, not longer than it.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start =
            NonNull::new(start.cast::<u8>()).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        Ok(SharedArray {
            start,
            bytes,
            stride,
            length,
        })
    }

    /// Sets the first word of a value; false if there is no such place.
    pub(crate) fn set_word(&self, at: usize, word: u32) -> bool {
        match self.word(at) {
            Some(place) => {
                place.store(word, Ordering::Release);
                true
            }
            None => false,
        }
    }

    /// Sets another word of a value, the first being 0.
    pub(crate) fn set_nth_word(&self, at: usize, nth: usize, word: u32) {
        if let Some(place) = self.nth_word(at, nth) {
            place.store(word, Ordering::Relaxed);
        }
    }

    fn word(&self, at: usize) -> Option<&AtomicU32> {
        self.nth_word(at, 0)
    }

    /// A word of a value.
    pub(crate) fn nth_word(&self, at: usize, nth: usize) -> Option<&AtomicU32> {
        if at >= self.length || nth >= self.stride / 4 {
            return None;
        }
        // SAFETY: inside the mapping, aligned to 4; the kernel's programs read the word as one.
        unsafe {
            Some(AtomicU32::from_ptr(
                self.start.as_ptr().add(at * self.stride + nth * 4).cast(),
            ))
        }
    }

    /// Reads a value, which the program may be writing to.
    pub(crate) fn read<V: aya::Pod>(&self, at: usize) -> Option<V> {
        if at >= self.length || size_of::<V>() > self.stride || align_of::<V>() > 8 {
            return None;
        }
        // SAFETY: the value's whole place lies inside the mapping, aligned to 8, and any bytes are a value.
        unsafe {
            Some(
                self.start
                    .as_ptr()
                    .add(at * self.stride)
                    .cast::<V>()
                    .read_volatile(),
            )
        }
    }

    /// Writes a value that nobody reads meanwhile; false if there is no such place.
    pub(crate) fn write<V: aya::Pod>(&self, at: usize, value: &V) -> bool {
        if at >= self.length || size_of::<V>() > self.stride || align_of::<V>() > 8 {
            return false;
        }
        // SAFETY: the value's whole place lies inside the mapping, aligned to 8, and nobody else in this process uses it.
        unsafe {
            self.start
                .as_ptr()
                .add(at * self.stride)
                .cast::<V>()
                .write_volatile(*value);
        }
        true
    }

    /// Writes a value word by word so that a program that reads meanwhile notices: its first word is 0 until all of it
    /// stands.
    pub(crate) fn set_words(&self, at: usize, words: &[u32]) {
        self.set_word(at, 0);
        fence(Ordering::SeqCst);
        for (nth, word) in words.iter().enumerate().rev() {
            if nth == 0 {
                fence(Ordering::SeqCst);
            }
            if let Some(place) = self.nth_word(at, nth) {
                place.store(*word, Ordering::Release);
            }
        }
    }

    /// Writes a path so that a program that reads meanwhile notices: its version is 0 until all of it stands.
    pub(crate) fn set_path(&self, at: usize, path: &Path) -> bool {
        debug_assert_eq!(self.stride, size_of::<Path>().next_multiple_of(8));
        let Some(version) = self.word(at) else {
            return false;
        };
        version.store(0, Ordering::Release);
        fence(Ordering::SeqCst);
        let body = Path { version: 0, ..*path };
        // SAFETY: the value's whole place lies inside the mapping and nobody else in this process writes to it.
        unsafe {
            self.start
                .as_ptr()
                .add(at * self.stride)
                .cast::<Path>()
                .write_volatile(body);
        }
        fence(Ordering::SeqCst);
        version.store(path.version, Ordering::Release);
        true
    }
}

impl Drop for SharedArray {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping that `new` made; nothing borrows from it any more.
        unsafe {
            libc::munmap(self.start.as_ptr().cast(), self.bytes);
        }
    }
}

/// A call of `bpf(2)`; `attributes` is `union bpf_attr` as the command reads and writes it. What it returned.
///
/// # Safety
/// Whatever the attributes point at must be as the command wants it, and live as long as the call.
pub(super) unsafe fn bpf<A>(command: libc::c_int, attributes: &mut A) -> io::Result<libc::c_long> {
    // SAFETY: the kernel reads and writes no more of the attributes than their size; for the rest the caller answers.
    let done = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size_of::<A>()) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(done)
}

const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_TCX_INGRESS: u32 = 46;
const BPF_TCX_EGRESS: u32 = 47;
const BPF_F_BEFORE: u32 = 1 << 3;
const BPF_F_AFTER: u32 = 1 << 4;
/// What it is before or after is a program, named by its id.
const BPF_F_ID: u32 = 1 << 5;

/// Where a program meets an interface's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// At ingress, before every other program.
    First,
    /// At ingress, before the program with this id.
    Before(u32),
    /// At ingress, after every other program.
    Last,
    /// At egress, before every other program.
    Egress,
}

/// Attaches a program at tcx of an interface of the calling thread's network namespace. It stays while somebody holds the
/// link.
pub(crate) fn attach_tcx(program: BorrowedFd<'_>, ifindex: u32, place: Place) -> io::Result<OwnedFd> {
    /// `union bpf_attr` as `BPF_LINK_CREATE` reads it.
    #[repr(C)]
    struct Attributes {
        program: u32,
        ifindex: u32,
        attach_type: u32,
        flags: u32,
        relative: u32,
        padding: u32,
        expected_revision: u64,
    }
    let (attach_type, flags, relative) = match place {
        Place::First => (BPF_TCX_INGRESS, BPF_F_BEFORE, 0),
        Place::Before(id) => (BPF_TCX_INGRESS, BPF_F_BEFORE | BPF_F_ID, id),
        Place::Last => (BPF_TCX_INGRESS, BPF_F_AFTER, 0),
        Place::Egress => (BPF_TCX_EGRESS, BPF_F_BEFORE, 0),
    };
    let mut attributes = Attributes {
        program: program.as_raw_fd() as u32,
        ifindex,
        attach_type,
        flags,
        relative,
        padding: 0,
        expected_revision: 0,
    };
    // SAFETY: they point at nothing; the descriptor that comes back is owned by nobody else.
    unsafe {
        let fd = bpf(BPF_LINK_CREATE, &mut attributes)?;
        Ok(OwnedFd::from_raw_fd(fd as i32))
    }
}

const BPF_PROG_QUERY: libc::c_int = 16;

/// The ids of the programs at tcx ingress of an interface of the calling thread's network namespace, of the first 64.
pub(crate) fn programs_at(ifindex: u32) -> io::Result<Vec<u32>> {
    /// `union bpf_attr` as `BPF_PROG_QUERY` reads it.
    #[repr(C)]
    struct Attributes {
        ifindex: u32,
        attach_type: u32,
        flags: [u32; 2],
        programs: u64,
        count: u32,
        padding: u32,
        more: [u64; 4],
    }
    let mut programs = [0u32; 64];
    let mut attributes = Attributes {
        ifindex,
        attach_type: BPF_TCX_INGRESS,
        flags: [0; 2],
        programs: programs.as_mut_ptr() as u64,
        count: programs.len() as u32,
        padding: 0,
        more: [0; 4],
    };
    // SAFETY: the kernel writes at most `count` ids to `programs`, and their number to `count`.
    unsafe { bpf(BPF_PROG_QUERY, &mut attributes)? };
    let count = (attributes.count as usize).min(programs.len());
    Ok(programs[..count].to_vec())
}

const BPF_MAP_DELETE_BATCH: libc::c_int = 27;

/// Deletes keys of a hash map; those that are not there are passed over.
pub(crate) fn delete_batch<K: aya::Pod>(map: BorrowedFd<'_>, mut keys: &[K]) {
    /// `union bpf_attr` as `BPF_MAP_DELETE_BATCH` reads it.
    #[repr(C)]
    struct Attributes {
        batches: [u64; 2],
        keys: u64,
        values: u64,
        count: u32,
        map: u32,
        elem_flags: u64,
        flags: u64,
    }
    while !keys.is_empty() {
        let mut attributes = Attributes {
            batches: [0; 2],
            keys: keys.as_ptr() as u64,
            values: 0,
            count: keys.len() as u32,
            map: map.as_raw_fd() as u32,
            elem_flags: 0,
            flags: 0,
        };
        // SAFETY: the kernel reads `count` keys of the map's key size, which `K` has, and writes `count`.
        if unsafe { bpf(BPF_MAP_DELETE_BATCH, &mut attributes) }.is_ok() {
            return;
        }
        // It stopped at one that is not there, after `count` others.
        let at = (attributes.count as usize).min(keys.len() - 1) + 1;
        keys = &keys[at..];
    }
}

// SAFETY: each is a C structure without padding (`bpf/layout.txt`), and any bytes are a value of it.
unsafe impl aya::Pod for Key4 {}
// SAFETY: as above.
unsafe impl aya::Pod for Key6 {}
// SAFETY: as above.
unsafe impl aya::Pod for Flow {}
// SAFETY: as above.
unsafe impl aya::Pod for Ask4 {}
// SAFETY: as above.
unsafe impl aya::Pod for Ask6 {}
// SAFETY: as above.
unsafe impl aya::Pod for Decision {}
// SAFETY: as above.
unsafe impl aya::Pod for Verdict {}
// SAFETY: as above.
unsafe impl aya::Pod for Made {}
// SAFETY: as above.
unsafe impl aya::Pod for Renewal {}
// SAFETY: as above.
unsafe impl aya::Pod for Path {}
// SAFETY: as above.
unsafe impl aya::Pod for Port {}
// SAFETY: as above.
unsafe impl aya::Pod for Clock {}
// SAFETY: as above.
unsafe impl aya::Pod for Tunnel {}
// SAFETY: as above.
unsafe impl aya::Pod for Label {}
