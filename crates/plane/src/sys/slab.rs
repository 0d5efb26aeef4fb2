//! Large zeroed memory that costs nothing until it is used.

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

/// So many zeroed entries, their pages untouched.
pub(crate) fn zeroed<W: Words>(count: usize) -> Box<[W]> {
    let slab = Box::<[W]>::new_zeroed_slice(count);
    // SAFETY: `Words` promises that zero bytes are a valid value.
    unsafe { slab.assume_init() }
}
