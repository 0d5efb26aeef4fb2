//! The kernel's interfaces: the only place of this room with `unsafe` in it, each with its reason.

pub(crate) mod bpf;
pub(crate) mod fanout;
pub(crate) mod interface;
pub(crate) mod lanes;
pub(crate) mod program_run;
pub(crate) mod ring;
pub(crate) mod sender;
pub(crate) mod shared_file;
pub(crate) mod slab;
#[cfg(test)]
pub(crate) mod test_run;
