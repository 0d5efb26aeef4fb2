//! Request and answer types from the public AWS service models.
//!
//! Two steps, so that generating needs no network: [`refresh`] reduces the models of a pinned
//! botocore to the listed operations, without documentation, into `crates/shapes/model`;
//! [`write`] turns those into Rust, and [`check`] compares.

mod generate;
mod model;
mod names;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use model::Model;

/// The release the reduced models come from.
const BOTOCORE: &str = "1.43.11";

/// Directory in botocore's data and module in `shapes`, with the API version taken.
const SERVICES: [(&str, &str); 3] = [
    ("ec2", "2016-11-15"),
    ("sts", "2011-06-15"),
    ("cloudformation", "2010-05-15"),
];

/// File name → text.
type Files = BTreeMap<String, String>;

/// Writes the generated modules, removing files that no operation needs any more.
pub fn write() -> Result<(), String> {
    for (service, files) in generated()? {
        let directory = source_directory(&service);
        if directory.exists() {
            fs::remove_dir_all(&directory).map_err(|e| at(&directory, e))?;
        }
        fs::create_dir_all(&directory).map_err(|e| at(&directory, e))?;
        for (name, text) in files {
            let path = directory.join(name);
            fs::write(&path, text).map_err(|e| at(&path, e))?;
        }
    }
    Ok(())
}

/// Compares the committed modules with what [`write`] would write.
pub fn check() -> Result<(), String> {
    let mut wrong = Vec::new();
    for (service, files) in generated()? {
        let directory = source_directory(&service);
        let mut committed = BTreeMap::new();
        for entry in fs::read_dir(&directory).map_err(|e| at(&directory, e))? {
            let path = entry.map_err(|e| at(&directory, e))?.path();
            let text = fs::read_to_string(&path).map_err(|e| at(&path, e))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            committed.insert(name.into_owned(), text);
        }
        for (name, text) in &files {
            match committed.remove(name) {
                None => wrong.push(format!("{service}/{name} is missing")),
                Some(found) if found != *text => wrong.push(format!("{service}/{name} differs")),
                Some(_) => {}
            }
        }
        wrong.extend(
            committed
                .keys()
                .map(|name| format!("{service}/{name} is not generated")),
        );
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(format!(
        "the committed shapes are not what `cargo xtask shapes` writes:\n  {}",
        wrong.join("\n  ")
    ))
}

/// Takes the models out of the pinned botocore and keeps what the listed operations need.
pub fn refresh() -> Result<(), String> {
    let scratch = root().join("target/xtask-shapes");
    if scratch.exists() {
        fs::remove_dir_all(&scratch).map_err(|e| at(&scratch, e))?;
    }
    fs::create_dir_all(&scratch).map_err(|e| at(&scratch, e))?;
    let package = format!("botocore=={BOTOCORE}");
    run(Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"])
        .arg(&scratch)
        .arg(&package))?;
    let operations = operations()?;
    for (service, version) in SERVICES {
        let compressed = scratch.join(format!("botocore/data/{service}/{version}/service-2.json.gz"));
        let text = run(Command::new("gzip").arg("-dc").arg(&compressed))?;
        let full: serde_json::Value = serde_json::from_slice(&text).map_err(|e| at(&compressed, e))?;
        let wanted = operations.get(service).map(Vec::as_slice).unwrap_or_default();
        let path = model_file(service);
        fs::write(&path, model::reduce(&full, wanted)?).map_err(|e| at(&path, e))?;
    }
    fs::remove_dir_all(&scratch).map_err(|e| at(&scratch, e))
}

/// Service → file name → formatted text.
fn generated() -> Result<Vec<(String, Files)>, String> {
    let operations = operations()?;
    let omitted = omitted_when_empty()?;
    let mut services = Vec::new();
    for (service, _) in SERVICES {
        let path = model_file(service);
        let text = fs::read_to_string(&path).map_err(|e| at(&path, e))?;
        let model = Model::parse(&text).map_err(|e| at(&path, e))?;
        let wanted = operations.get(service).map(Vec::as_slice).unwrap_or_default();
        if !model.operations.keys().eq(wanted.iter()) {
            return Err(format!(
                "{} does not hold the operations that operations.txt lists for {service}: \
                 run `cargo xtask shapes --refresh`",
                path.display()
            ));
        }
        let omitted = omitted.get(service).map(Vec::as_slice).unwrap_or_default();
        services.push((service.to_owned(), generate::files(&model, omitted)?));
    }
    format(&mut services)?;
    Ok(services)
}

/// Runs rustfmt once over everything, under the workspace's settings.
fn format(services: &mut [(String, Files)]) -> Result<(), String> {
    let scratch = root().join(format!("target/xtask-format-{}", std::process::id()));
    let mut paths = Vec::new();
    for (service, files) in services.iter() {
        let directory = scratch.join(service);
        fs::create_dir_all(&directory).map_err(|e| at(&directory, e))?;
        for (name, text) in files {
            let path = directory.join(name);
            fs::write(&path, text).map_err(|e| at(&path, e))?;
            if name == "mod.rs" {
                paths.push(path);
            }
        }
    }
    run(Command::new("rustfmt")
        .args(["--edition", "2024", "--config-path"])
        .arg(root())
        .args(&paths))?;
    for (service, files) in services.iter_mut() {
        for (name, text) in files.iter_mut() {
            let path = scratch.join(&*service).join(name);
            *text = fs::read_to_string(&path).map_err(|e| at(&path, e))?;
        }
    }
    fs::remove_dir_all(&scratch).map_err(|e| at(&scratch, e))
}

/// `operations.txt`: service → sorted operations.
fn operations() -> Result<BTreeMap<String, Vec<String>>, String> {
    let path = root().join("crates/shapes/operations.txt");
    let text = fs::read_to_string(&path).map_err(|e| at(&path, e))?;
    let mut operations: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text
        .lines()
        .filter(|l| !l.starts_with('#') && !l.trim().is_empty())
    {
        let (service, names) = line
            .split_once(':')
            .ok_or_else(|| at(&path, format!("`{line}` has no `service:` before it")))?;
        operations
            .entry(service.trim().to_owned())
            .or_default()
            .extend(names.split_whitespace().map(str::to_owned));
    }
    for names in operations.values_mut() {
        names.sort();
        names.dedup();
    }
    Ok(operations)
}

/// `omitted_when_empty.txt`: service → `(structure, member or *)`.
fn omitted_when_empty() -> Result<BTreeMap<String, Vec<(String, String)>>, String> {
    let path = root().join("crates/shapes/model/omitted_when_empty.txt");
    let text = fs::read_to_string(&path).map_err(|e| at(&path, e))?;
    let mut omitted: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for line in text
        .lines()
        .filter(|l| !l.starts_with('#') && !l.trim().is_empty())
    {
        let parsed = line.split_once(' ').and_then(|(service, rest)| {
            rest.split_once('.')
                .map(|(structure, member)| (service, structure, member))
        });
        let (service, structure, member) =
            parsed.ok_or_else(|| at(&path, format!("`{line}` is not `service Shape.Member`")))?;
        omitted
            .entry(service.to_owned())
            .or_default()
            .push((structure.to_owned(), member.to_owned()));
    }
    Ok(omitted)
}

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

fn model_file(service: &str) -> PathBuf {
    root().join(format!("crates/shapes/model/{service}.json"))
}

fn source_directory(service: &str) -> PathBuf {
    root().join("crates/shapes/src").join(service)
}

fn at(path: &Path, why: impl std::fmt::Display) -> String {
    format!("{}: {why}", path.display())
}

fn run(command: &mut Command) -> Result<Vec<u8>, String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| format!("{}: {e}", command.get_program().to_string_lossy()))?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(format!("{command:?} ended with {}", output.status))
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_committed_shapes_are_what_the_models_generate() {
        super::check().unwrap_or_else(|why| panic!("{why}"));
    }
}
