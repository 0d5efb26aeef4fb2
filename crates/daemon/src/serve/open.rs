//! Taking what is the host's own, while the process has one thread.

use std::fs::{File, OpenOptions};
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use atoll_instance::{Host, Limits, Underlay, once_let_go};
use atoll_plane::{PlaneError, Tunnel};
use atoll_region::host;

use super::Opened;
use super::error::{ServeError, system};
use crate::joined;
use crate::member::Joining;
use crate::options::{Data, DataPlane, Options};
use crate::places;
use crate::removal;

/// How long what a start needs may be held by another daemon: one that was killed a moment ago lets go of it.
const LEAVING: Duration = Duration::from_secs(2);

/// Takes what is the host's own. Call it while the process has one thread.
///
/// # Errors
/// The first thing that cannot be had, with what to do about it.
pub fn open(options: Options) -> Result<Opened, ServeError> {
    if options.regions.is_empty() && options.join.is_none() {
        return Err(ServeError::Regions("name at least one --region".into()));
    }
    for (nth, region) in options.regions.iter().enumerate() {
        if options.regions.iter().take(nth).any(|other| other == region) {
            return Err(ServeError::Regions(format!("--region {region} is given twice")));
        }
    }
    if options.data_plane == Some(DataPlane::Ebpf) {
        // Before there is a holder, which would stay.
        atoll_plane::fast_permitted().map_err(PlaneError::from)?;
    }
    let underlay = underlay(&options)?;
    let listen = |why| ServeError::Listen {
        listen: options.listen,
        why,
    };
    let held = |error: &io::Error| error.kind() == io::ErrorKind::AddrInUse;
    let (listener, endpoint) = match options.join {
        Some(_) => (None, options.listen),
        None => {
            let listener =
                once_let_go(LEAVING, || TcpListener::bind(options.listen), held).map_err(listen)?;
            listener.set_nonblocking(true).map_err(listen)?;
            let endpoint = listener.local_addr().map_err(listen)?;
            (Some(listener), endpoint)
        }
    };

    let run_base = places::private_directory(&options.run_base)?;
    let (data, lock, run_directory) = match &options.data {
        Data::Ephemeral => (
            None,
            None,
            places::ephemeral_directory(&run_base, endpoint.port()),
        ),
        Data::Directory(directory) => {
            let data = places::private_directory(directory)?;
            let held = |error: &ServeError| matches!(error, ServeError::DataInUse { .. });
            let lock = once_let_go(LEAVING, || lock(&data), held)?;
            places::forget_killed(&run_base, &data, endpoint.port());
            let run_directory = places::run_directory(&run_base, &data);
            (Some(data), Some(lock), run_directory)
        }
    };
    let joining = match (&options.join, &data) {
        (None, Some(data)) => joined::none(data).map(|()| None)?,
        (None, None) => None,
        (Some(join), data) => Some(Joining::new(join, &options, underlay.as_ref(), data.as_deref())?),
    };
    let control_path = places::control_socket(&run_base, endpoint.port());
    let answered = |error: &ServeError| matches!(error, ServeError::System { why, .. } if held(why));
    let control = once_let_go(LEAVING, || listen_control(&control_path), answered)?;
    let passing = data.is_none().then(|| run_directory.clone());
    let mut tunnel = None;
    let host = match options.data_plane {
        Some(DataPlane::None) => {
            // An earlier one's instances may run on; what forwards their packets would not hear of changes.
            let state = data.clone().unwrap_or_else(|| run_directory.join("state"));
            // Gone before it was asked, or meanwhile: the same.
            match Host::existing(&run_directory, &state).and_then(|host| host.drop_links(0)) {
                Ok(()) | Err(atoll_instance::Error::HolderGone { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            None
        }
        Some(DataPlane::Ebpf | DataPlane::Userspace) | None => {
            let state = data.clone().unwrap_or_else(|| run_directory.join("state"));
            if let Some(passing) = &passing {
                // One that was killed where nothing is kept: its instances are nobody's.
                match Host::existing(passing, &state).and_then(|host| host.shutdown(true)) {
                    Ok(()) | Err(atoll_instance::Error::HolderGone { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            if let Some(data) = &data {
                let record = places::data_record(&run_base, endpoint.port());
                std::fs::write(record, data.as_os_str().as_encoded_bytes())
                    .map_err(system("write down the data directory"))?;
            }
            let host = Host::open(&run_directory, &state)?;
            if let Some(underlay) = &underlay {
                let made = make_tunnel(&host, underlay, passing.as_deref());
                tunnel = Some(made.inspect_err(|_| {
                    let _ = std::fs::remove_file(&control_path);
                    if !run_directory.exists() {
                        let _ = std::fs::remove_file(places::data_record(&run_base, endpoint.port()));
                    }
                })?);
            }
            // From here on the network is the holder's; what was opened above stays on the host's.
            host.enter()?;
            if tunnel.is_none() {
                host.remove_tunnel()?;
            }
            Some(host)
        }
    };
    let limits = match &host {
        Some(host) => host.limits()?,
        None => Limits::none("without a data plane no instance has processes"),
    };
    Ok(Opened {
        options,
        endpoint,
        listener,
        joining,
        control,
        control_path,
        data,
        host,
        limits,
        tunnel,
        passing,
        _lock: lock,
    })
}

/// Where other hosts reach this one, if packets are to go between them.
fn underlay(options: &Options) -> Result<Option<Underlay>, ServeError> {
    let Some(address) = options.underlay else {
        return Ok(None);
    };
    match (options.data_plane, &options.join) {
        // It follows the rows alone.
        (Some(DataPlane::None), Some(_)) => return Ok(None),
        (Some(other @ (DataPlane::Userspace | DataPlane::None)), _) => {
            let words = format!("leave --data-plane {other} out");
            return Err(ServeError::Underlay(words));
        }
        (Some(DataPlane::Ebpf) | None, _) => {}
    }
    atoll_plane::fast_permitted().map_err(|error| ServeError::Underlay(error.to_string()))?;
    Ok(Some(Underlay::find(address, host::LEAST_MTU)?))
}

/// Makes the device for packets of other hosts, or finds the one that stands.
fn make_tunnel(host: &Host, underlay: &Underlay, passing: Option<&Path>) -> Result<Tunnel, ServeError> {
    match host.make_tunnel() {
        Ok(ifindex) => Ok(Tunnel {
            ifindex,
            address: underlay.address,
            mtu: underlay.mtu,
        }),
        Err(error) => {
            // One that was started for this alone is not to stay.
            if host.list().is_ok_and(|reports| reports.is_empty()) {
                let _ = host.shutdown(passing.is_some());
                let _ = passing.map(std::fs::remove_dir_all);
            }
            Err(error.into())
        }
    }
}

fn lock(data: &Path) -> Result<File, ServeError> {
    let path = data.join(removal::LOCK);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(system(format!("open {}", path.display())))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(ServeError::DataInUse {
            path: data.to_path_buf(),
        }),
        Err(std::fs::TryLockError::Error(why)) => Err(system(format!("lock {}", path.display()))(why)),
    }
}

fn listen_control(path: &Path) -> Result<UnixListener, ServeError> {
    let what = || system(format!("listen at {}", path.display()));
    if UnixStream::connect(path).is_ok() {
        let why = io::Error::new(io::ErrorKind::AddrInUse, "another daemon answers there");
        return Err(what()(why));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(what()(error)),
        _ => {}
    }
    // The directory is 0700, so nobody comes in between the two calls.
    let listener = UnixListener::bind(path).map_err(what())?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(what())?;
    listener.set_nonblocking(true).map_err(what())?;
    Ok(listener)
}
