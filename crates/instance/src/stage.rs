//! The stage: what a shim and the sandbox that it starts see of the host's files, in a mount namespace of their own.

use std::fs::{File, Permissions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{Stat, StatVfsMountFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags};
use rustix::thread::UnshareFlags;

use crate::error::Trying;
use crate::state_dir::InstanceDir;
use crate::{Result, preflight, sys};

/// Where the shim sees what it needs, in a mount namespace of its own; the host's /run, with its sockets, is hidden by it.
const STAGE: &str = "/run";
/// The program, read-only: not even root of a sandbox can write to what a joining process was started from.
pub(crate) const STAGED_PROGRAM: &str = "/run/atoll";
/// The instance's state directory.
pub(crate) const STAGED_STATE: &str = "/run/state";
/// Where the guest's socket is, outside; inside it is /run/atoll.
pub(crate) const STAGED_GUEST: &str = "/run/guest";
/// Its directories for what is private.
pub(crate) const STAGED_FS: &str = "/run/fs";
/// Its files of /etc.
pub(crate) const STAGED_ETC: &str = "/run/etc";

/// Makes the stage: a mount namespace in which [`STAGE`] has the instance's directories and this program, and nothing of the host's.
/// bubblewrap, by then another user, can reach them there whatever directories they are below.
pub(crate) fn stage(instance: &InstanceDir) -> Result<()> {
    let clone = |path: &Path| {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        rustix::mount::open_tree(rustix::fs::CWD, path, flags)
            .trying(format!("take {} along", path.display()))
    };
    sys::unshare(UnshareFlags::NEWNS).map_err(|error| preflight::forbidden("mount namespaces", error))?;
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .trying("make mounts private")?;
    let program = File::open("/proc/self/exe").trying("open this program")?;
    // By its path: what the kernel has as this process's program is on a mount of the namespace that was left.
    let tree = std::fs::read_link("/proc/self/exe")
        .ok()
        .and_then(|path| clone(&path).ok())
        .filter(|tree| is_for_all(tree, &program));
    let trees = [
        (clone(instance.path())?, STAGED_STATE),
        (clone(&instance.join("fs"))?, STAGED_FS),
        (clone(&instance.join("etc"))?, STAGED_ETC),
        (clone(&instance.join("guest"))?, STAGED_GUEST),
    ];
    rustix::mount::mount(
        "tmpfs",
        STAGE,
        "tmpfs",
        MountFlags::NOSUID | MountFlags::NODEV,
        c"mode=0755",
    )
    .trying("mount the stage")?;
    for (tree, place) in trees {
        std::fs::create_dir(place).trying("make the stage")?;
        attach(&tree, place)?;
    }
    if let Some(tree) = tree {
        std::fs::write(STAGED_PROGRAM, "").trying("make the stage")?;
        attach(&tree, STAGED_PROGRAM)?;
        read_only(STAGED_PROGRAM)?;
    } else {
        // The file was replaced while it ran, or is not for all: what runs is copied.
        std::io::copy(
            &mut &program,
            &mut File::create(STAGED_PROGRAM).trying("copy this program")?,
        )
        .trying("copy this program")?;
        std::fs::set_permissions(STAGED_PROGRAM, Permissions::from_mode(0o555))
            .trying("copy this program")?;
    }
    Ok(())
}

/// Whether two descriptors are of one file, which any user may run.
fn is_for_all(one: &OwnedFd, other: &File) -> bool {
    let (Ok(one), Ok(other)) = (rustix::fs::fstat(one), rustix::fs::fstat(other)) else {
        return false;
    };
    let of = |file: &Stat| (file.st_dev, file.st_ino);
    of(&one) == of(&other) && one.st_mode & 0o555 == 0o555
}

/// Makes a mount read-only. What else it is told about access times an ordinary user may not take back, so that stays.
fn read_only(place: &str) -> Result<()> {
    let is = rustix::fs::statvfs(place)
        .trying(format!("look at {place}"))?
        .f_flag;
    let kept = [
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
    ];
    let kept = kept.into_iter().filter(|(had, _)| is.contains(*had));
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    let flags = kept.fold(flags, |flags, (_, keep)| flags | keep);
    rustix::mount::mount_remount(place, flags, c"").trying("make this program read-only")
}

fn attach(tree: &OwnedFd, place: &str) -> Result<()> {
    rustix::mount::move_mount(
        tree,
        "",
        rustix::fs::CWD,
        place,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .trying(format!("attach {place}"))
}
