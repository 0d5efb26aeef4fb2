//! Whether it was want of memory that ended the instance.
use super::Shim;

impl Shim {
    /// What to say if it was the bound of its memory that ended it.
    pub(super) fn out_of_memory(&self) -> Option<String> {
        (self.cgroup.as_ref()?.memory_kills() > self.memory_kills).then(|| {
            format!(
                "it used more memory than it has ({} MiB, unless the host has less) and was ended",
                self.stored.spec.resources.memory_mib
            )
        })
    }
}
