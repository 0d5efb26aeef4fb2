//! Large zeroed memory that costs nothing until it is used.

use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;

/// A cache line's half: an entry of eight words.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
pub(crate) struct Half(pub [u32; 8]);

/// A cache line: an entry of sixteen words.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line(pub [u32; 16]);

/// An entry that is a plain sequence of words.
///
/// # Safety
/// All-zero bytes must be a valid value.
pub(crate) unsafe trait Words: Copy {
    /// The words.
    fn words(&self) -> &[u32];
    /// The words, for writing.
    fn words_mut(&mut self) -> &mut [u32];
}

// SAFETY: an array of integers; zero is one.
unsafe impl Words for Half {
    #[inline(always)]
    fn words(&self) -> &[u32] {
        &self.0
    }
    #[inline(always)]
    fn words_mut(&mut self) -> &mut [u32] {
        &mut self.0
    }
}

// SAFETY: an array of integers; zero is one.
unsafe impl Words for Line {
    #[inline(always)]
    fn words(&self) -> &[u32] {
        &self.0
    }
    #[inline(always)]
    fn words_mut(&mut self) -> &mut [u32] {
        &mut self.0
    }
}

/// Zeroed entries in a mapping of their own: pages cost nothing until they are touched (the allocator would write
/// zeros over memory so aligned), and are huge ones where the kernel has them, so that a random access costs one
/// miss and not two.
pub(crate) struct Slab<W> {
    start: NonNull<W>,
    count: usize,
    mapping: Arc<Mapping>,
}

/// Address space, given back when nobody has it any more.
struct Mapping {
    start: NonNull<libc::c_void>,
    length: usize,
}

// SAFETY: what is in it is reached by the slab alone; others ask the kernel for its pages and touch no content.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping that `Slab::new` made; nothing borrows from it any more.
        unsafe {
            libc::munmap(self.start.as_ptr(), self.length);
        }
    }
}

/// The pages of a slab, to be had before they are touched.
pub(crate) struct Pages(Arc<Mapping>);

impl Pages {
    /// Has the kernel give them, zeroed where they are new; that is not done when an entry is first put into one. Takes some
    /// tenths of a millisecond each, beside whoever uses the slab.
    pub(crate) fn fetch(self) {
        let Mapping { start, length } = *self.0;
        for from in (0..length).step_by(HUGE) {
            // SAFETY: a part of the mapping, which is there as long as `self` is. Pages come, no content changes; without
            // memory for them they come later, or not, as ever.
            unsafe {
                let piece = HUGE.min(length - from);
                libc::madvise(start.byte_add(from).as_ptr(), piece, libc::MADV_POPULATE_WRITE);
            }
        }
    }
}

// SAFETY: the mapping belongs to this value alone, like a box's memory.
unsafe impl<W: Send> Send for Slab<W> {}

/// The size of a huge page.
const HUGE: usize = 2 << 20;

impl<W: Words> Slab<W> {
    /// So many entries.
    ///
    /// # Panics
    /// Without address space for them, as any allocation.
    pub(crate) fn new(count: usize) -> Slab<W> {
        let needed = count.checked_mul(size_of::<W>()).unwrap_or(usize::MAX - HUGE);
        let length = needed.saturating_add(HUGE);
        // SAFETY: a new private anonymous mapping; no existing memory is concerned.
        let mapping = unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
            libc::mmap(std::ptr::null_mut(), length, protection, flags, -1, 0)
        };
        let mapping = match NonNull::new(mapping) {
            Some(mapping) if mapping.as_ptr() != libc::MAP_FAILED => mapping,
            _ => panic!("no address space for a table of {needed} bytes"),
        };
        let offset = mapping.as_ptr().align_offset(HUGE).min(HUGE);
        // SAFETY: the mapping is a huge page longer than needed, so `needed` bytes follow the aligned start. The
        // advice changes no content; its failure costs speed only.
        let start = unsafe {
            let start = mapping.byte_add(offset);
            libc::madvise(start.as_ptr(), needed, libc::MADV_HUGEPAGE);
            start.cast::<W>()
        };
        Slab {
            start,
            count,
            mapping: Arc::new(Mapping {
                start: mapping,
                length,
            }),
        }
    }
}

impl<W> Slab<W> {
    /// Its pages.
    pub(crate) fn pages(&self) -> Pages {
        Pages(Arc::clone(&self.mapping))
    }
}

impl<W> Deref for Slab<W> {
    type Target = [W];

    #[inline(always)]
    fn deref(&self) -> &[W] {
        // SAFETY: `count` entries from `start` lie in the mapping, aligned to 2 MiB; zero bytes, which they are
        // until written, are valid (`Words`).
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.count) }
    }
}

impl<W> DerefMut for Slab<W> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [W] {
        // SAFETY: as above, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.count) }
    }
}
