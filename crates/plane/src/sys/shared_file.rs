//! Memory shared with a file, which outlives the process.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering, compiler_fence};

use rustix::fs::{FallocateFlags, SeekFrom as Sparse};

use crate::journal::Memory;

/// What is taken of the file system at a time. Memory that it does not have would end the process when it is written.
const PIECE: usize = 1 << 18;
/// The longest file that is read: longer than any that is written.
const LONGEST: u64 = 1 << 32;

/// A mapped file.
pub(crate) struct SharedFile {
    file: File,
    start: NonNull<u8>,
    length: usize,
    /// Which pieces have been taken.
    taken: Vec<bool>,
}

// SAFETY: the mapping belongs to this value alone and may be used from whichever thread owns it.
unsafe impl Send for SharedFile {}

impl SharedFile {
    /// A new file of zeros that only its owner can read; what stood at the path is gone.
    pub(crate) fn create(path: &Path, length: usize) -> io::Result<SharedFile> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.set_len(length as u64)?;
        // SAFETY: a new shared mapping of a file of that length, which nobody shortens.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        Ok(SharedFile {
            file,
            start,
            length,
            taken: vec![false; length.div_ceil(PIECE)],
        })
    }
}

impl Memory for SharedFile {
    fn reserve(&mut self, from: usize, to: usize) -> io::Result<()> {
        for piece in from / PIECE..to.min(self.length).div_ceil(PIECE) {
            let Some(taken) = self.taken.get_mut(piece) else {
                return Err(io::Error::from(io::ErrorKind::FileTooLarge));
            };
            if !*taken {
                let (at, length) = (piece * PIECE, PIECE.min(self.length - piece * PIECE));
                rustix::fs::fallocate(&self.file, FallocateFlags::empty(), at as u64, length as u64)?;
                *taken = true;
            }
        }
        Ok(())
    }

    #[inline]
    fn write(&mut self, at: usize, bytes: &[u8]) {
        let there = at.checked_add(bytes.len()).is_some_and(|end| end <= self.length);
        debug_assert!(there);
        if !there {
            return;
        }
        compiler_fence(Ordering::SeqCst);
        // SAFETY: inside the mapping, which nothing in this process borrows from.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.as_ptr().add(at), bytes.len());
        }
        compiler_fence(Ordering::SeqCst);
    }

    #[inline]
    fn write_words(&mut self, at: usize, words: [u64; 2]) {
        for (n, word) in words.into_iter().enumerate() {
            let at = at + n * 8;
            debug_assert!(at.is_multiple_of(8) && at + 8 <= self.length);
            // SAFETY: inside the mapping's first page and aligned.
            let place = unsafe { AtomicU64::from_ptr(self.start.as_ptr().add(at).cast()) };
            place.store(word.to_le(), Ordering::Release);
        }
    }
}

impl Drop for SharedFile {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping that `create` made; nothing borrows from it any more.
        unsafe {
            libc::munmap(self.start.as_ptr().cast(), self.length);
        }
    }
}

/// A file's bytes, and which of them were ever written; the others are zeros.
pub(crate) fn read_sparse(path: &Path) -> io::Result<(Vec<u8>, Vec<Range<usize>>)> {
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?;
    let length = file.metadata()?.len();
    if length > LONGEST {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    let mut bytes = vec![0; length as usize];
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < length {
        let begin = match rustix::fs::seek(&file, Sparse::Data(at)) {
            Ok(begin) => begin,
            // Nothing but zeros from here on.
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(&file, Sparse::Hole(begin))?.min(length);
        file.seek(SeekFrom::Start(begin))?;
        let range = begin as usize..end as usize;
        if let Some(into) = bytes.get_mut(range.clone()) {
            file.read_exact(into)?;
        }
        ranges.push(range);
        at = end;
    }
    Ok((bytes, ranges))
}

/// Which start of the machine this is; zeros if the kernel does not say.
pub(crate) fn boot_id() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&digits, 16).unwrap_or(0).to_le_bytes()
}
