//! The access key that the first start generates, in the AWS tools' own file format, mode 0600.

use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use atoll_access::{Credential, SecretKey};
use atoll_model::AccountId;

use crate::entropy;

/// The file's name in the data directory.
pub const FILE: &str = "credentials";

/// The credentials cannot be read or made.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The system refused.
    #[error("cannot use the credentials file {}: {why}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// The file does not say what it should.
    #[error("the credentials file {} has no aws_access_key_id and aws_secret_access_key; remove it to have new ones made", path.display())]
    Illegible {
        /// The file.
        path: PathBuf,
    },
}

/// A new key for the default account.
///
/// # Errors
/// When the kernel gives no random bytes.
pub fn generate() -> io::Result<Credential> {
    Ok(Credential::generate(AccountId::DEFAULT, &entropy::random()?))
}

/// Reads the data directory's credentials, or makes them.
///
/// # Errors
/// When the file can be neither read nor made, or is illegible.
pub fn load_or_create(data: &Path) -> Result<Credential, CredentialsError> {
    let path = data.join(FILE);
    let unusable = |why| CredentialsError::Unusable {
        path: path.clone(),
        why,
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(unusable)?;
            parse(&text).ok_or(CredentialsError::Illegible { path })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = generate().map_err(unusable)?;
            // Whole or not at all: written beside, then given its name.
            let unfinished = path.with_extension("unfinished");
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&unfinished)
                .map_err(unusable)?;
            write!(
                file,
                "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
                made.access_key,
                made.secret.expose()
            )
            .and_then(|()| file.sync_all())
            .and_then(|()| std::fs::rename(&unfinished, &path))
            .map_err(unusable)?;
            Ok(made)
        }
        Err(error) => Err(unusable(error)),
    }
}

fn parse(text: &str) -> Option<Credential> {
    let value = |name: &str| {
        text.lines()
            .filter_map(|line| line.split_once('='))
            .find_map(|(key, value)| (key.trim() == name).then(|| value.trim().to_owned()))
    };
    Some(Credential {
        account: AccountId::DEFAULT,
        access_key: value("aws_access_key_id")?.parse().ok()?,
        secret: SecretKey::new(value("aws_secret_access_key").filter(|secret| !secret.is_empty())?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_made_once_and_are_their_owners_alone() {
        let data = tempfile::tempdir().unwrap();
        let made = load_or_create(data.path()).unwrap();
        assert_eq!(load_or_create(data.path()).unwrap(), made);
        let path = data.path().join(FILE);
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        std::fs::write(&path, "[default]\n").unwrap();
        assert!(matches!(
            load_or_create(data.path()),
            Err(CredentialsError::Illegible { .. })
        ));
    }
}
