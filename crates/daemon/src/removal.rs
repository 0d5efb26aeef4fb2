//! Removing what a daemon kept: `atoll down --all`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use atoll_instance::{Error as HostError, Host};
use atoll_model::RegionName;

use crate::{credentials, joined, places, pools};

/// The log of a daemon that was started in the background, in its data directory.
pub const LOG: &str = "atoll.log";
/// What keeps two daemons from one data directory.
pub(crate) const LOCK: &str = "lock";

/// Removes Atoll's own files from a data directory, and the directory if nothing else is in it. Nothing that
/// is not Atoll's is touched.
pub(crate) fn data_directory(data: &Path) {
    for name in [credentials::FILE, pools::FILE, joined::FILE, LOCK, LOG] {
        let _ = std::fs::remove_file(data.join(name));
    }
    for region in RegionName::all() {
        let _ = std::fs::remove_file(data.join(format!("{region}.redb")));
    }
    let _ = std::fs::remove_dir(data);
}

/// Ends what a daemon left that is itself no more, and removes what it kept: the instances and namespaces of
/// its data directory, `default` if it did not write down another, and of an ephemeral daemon at that port.
///
/// # Errors
/// When a holder is there and does not end.
pub fn leftovers(default: &Path, run_base: &Path, port: u16) -> Result<(), HostError> {
    let record = places::data_record(run_base, port);
    let data = std::fs::read(&record).map_or_else(
        |_| default.to_path_buf(),
        |bytes| PathBuf::from(OsString::from_vec(bytes)),
    );
    let data = data.canonicalize().unwrap_or(data);
    let ephemeral = places::ephemeral_directory(run_base, port);
    let places = [
        (places::run_directory(run_base, &data), data.clone()),
        (ephemeral.clone(), ephemeral.join("state")),
    ];
    for (run, state) in places {
        match Host::existing(&run, &state).and_then(|host| host.shutdown(true)) {
            Ok(()) => {}
            // The holder was killed too, perhaps just now: another one takes up what it left, be it instances or only their files, and ends that.
            Err(HostError::HolderGone { .. }) if run.exists() || state.join("instances").exists() => {
                Host::open(&run, &state)?.shutdown(true)?;
            }
            Err(HostError::HolderGone { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let _ = std::fs::remove_dir_all(ephemeral);
    data_directory(&data);
    let _ = std::fs::remove_file(places::control_socket(run_base, port));
    let _ = std::fs::remove_file(record);
    let _ = std::fs::remove_dir(run_base);
    atoll_instance::remove_stale_cgroups();
    Ok(())
}
