//! An allocator that lays large tables on huge pages.
//!
//! A random access to a table of many megabytes misses the processor's table of pages as well as its caches, and waits for
//! both. On pages of 2 MiB it waits for the second alone: a quarter less, where the benches are run.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::null_mut;

/// The system's allocator, but what takes [`HugePages::FROM`] bytes or more has a mapping of its own for which the kernel
/// is asked for huge pages.
///
/// Pages are the process's once they are written, as ever, but 2 MiB at a time. What is filled from its start, as a vector
/// is, takes at most one huge page more than it uses. What is asked for as zeroed is left on small pages: a table laid out
/// once for all that may ever come, and filled here and there, would have all of its memory with its first entries. Where
/// the kernel has no huge pages (`/sys/kernel/mm/transparent_hugepage/enabled` says `never`), or none free, all are small.
#[derive(Clone, Copy, Debug, Default)]
pub struct HugePages;

/// The size of a huge page.
const HUGE: usize = 2 << 20;

impl HugePages {
    /// What is that large, in bytes, is on huge pages.
    pub const FROM: usize = 2 * HUGE;
}

/// A mapping's length for so many bytes: whole small pages, of whichever size they are. `None` if there is no such length.
fn length(bytes: usize) -> Option<usize> {
    bytes.checked_next_multiple_of(64 << 10)
}

/// Zeroed memory at a multiple of a huge page's size, on `huge` pages or not, or null.
fn map(bytes: usize, huge: bool) -> *mut u8 {
    let Some((length, whole)) = length(bytes).and_then(|n| Some((n, n.checked_add(HUGE)?))) else {
        return null_mut();
    };
    // SAFETY: a new private anonymous mapping, which concerns no memory that exists. Of it everything outside the aligned
    // stretch is given back, in whole pages: start, `HUGE` and `length` are multiples of them. The advice changes no
    // content; its failure costs speed only.
    unsafe {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let mapping = libc::mmap(null_mut(), whole, protection, flags, -1, 0);
        if mapping == libc::MAP_FAILED {
            return null_mut();
        }
        let before = mapping.align_offset(HUGE).min(HUGE);
        let start = mapping.byte_add(before);
        if before > 0 {
            libc::munmap(mapping, before);
        }
        if before < HUGE {
            libc::munmap(start.byte_add(length), HUGE - before);
        }
        if huge {
            libc::madvise(start, length, libc::MADV_HUGEPAGE);
        }
        start.cast()
    }
}

/// Whether it has a mapping of its own. No type wants to stand at more than a huge page's multiples.
fn is_large(layout: &Layout) -> bool {
    layout.size() >= HugePages::FROM && layout.align() <= HUGE
}

// SAFETY: what is large has a mapping made by `map`, at least as long and as aligned as its layout says, until `dealloc`,
// which is given the same layout and so knows; all else is the system allocator's, whose contract this is.
unsafe impl GlobalAlloc for HugePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_large(&layout) {
            return map(layout.size(), true);
        }
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_large(&layout) {
            return map(layout.size(), false); // a new mapping is zero
        }
        // SAFETY: the caller's contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if !is_large(&layout) {
            // SAFETY: the caller's contract; `alloc` made the same choice by the same layout.
            return unsafe { System.dealloc(at, layout) };
        }
        if let Some(length) = length(layout.size()) {
            // SAFETY: exactly what `map` left of the mapping, which is the caller's to give back.
            unsafe { libc::munmap(at.cast(), length) };
        }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's contract: a size that is not zero and, rounded up to the alignment, no overflow.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if !is_large(&layout) && !is_large(&new) {
            // SAFETY: the caller's contract; both before and after it is the system's.
            return unsafe { System.realloc(at, layout, size) };
        }
        // A mapping that the kernel moves may fall into small pages, so what grows is copied, which Vec makes rare.
        // SAFETY: `new` is of the caller's contract; both places hold the bytes that are copied, and they are not one.
        unsafe {
            let to = self.alloc(new);
            if !to.is_null() {
                std::ptr::copy_nonoverlapping(at, to, layout.size().min(size));
                self.dealloc(at, layout);
            }
            to
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    /// Fills an allocation with bytes that tell where they stand, and says whether others still do.
    fn fill(at: *mut u8, size: usize) {
        // SAFETY: the tests' own allocations, of at least that size.
        let bytes = unsafe { std::slice::from_raw_parts_mut(at, size) };
        for (nth, byte) in bytes.iter_mut().enumerate() {
            *byte = (nth % 251) as u8;
        }
    }

    fn is_filled(at: *mut u8, size: usize) -> bool {
        // SAFETY: as above.
        let bytes = unsafe { std::slice::from_raw_parts(at, size) };
        bytes
            .iter()
            .enumerate()
            .all(|(nth, byte)| *byte == (nth % 251) as u8)
    }

    #[test]
    fn what_is_large_stands_at_a_huge_page_and_is_zero() {
        for size in [HugePages::FROM, HugePages::FROM + 1, 3 * HUGE - 1, 17 << 20] {
            for align in [1, 128, HUGE] {
                let layout = layout(size, align);
                // SAFETY: a layout of some size; given back with the same one.
                unsafe {
                    let at = HugePages.alloc_zeroed(layout);
                    assert_eq!(at.align_offset(HUGE), 0);
                    assert!(std::slice::from_raw_parts(at, size).iter().all(|byte| *byte == 0));
                    fill(at, size);
                    HugePages.dealloc(at, layout);
                }
            }
        }
    }

    #[test]
    fn growing_and_shrinking_keep_the_content() {
        let sizes = [
            1 << 20,
            HugePages::FROM - 1,
            HugePages::FROM,
            5 << 20,
            9 << 20,
            HugePages::FROM,
            4096,
            64,
        ];
        let mut now = layout(sizes[0], 64);
        // SAFETY: each time the layout that it was last given.
        unsafe {
            let mut at = HugePages.alloc(now);
            for size in sizes {
                let kept = size.min(now.size());
                fill(at, now.size());
                at = HugePages.realloc(at, now, size);
                now = layout(size, 64);
                assert!(is_filled(at, kept), "{size}");
            }
            HugePages.dealloc(at, now);
        }
    }

    #[test]
    fn what_no_memory_can_hold_is_refused() {
        let layout = layout(isize::MAX as usize & !4095, 8);
        // SAFETY: a layout of some size; null needs no giving back.
        assert!(unsafe { HugePages.alloc(layout) }.is_null());
    }
}
