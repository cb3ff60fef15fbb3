//! Who a client is: to registries, and to the daemon.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use integration_tests::peers::Cooperd;
use integration_tests::registry::Registry;
use integration_tests::sandbox::{Sandbox, binary, finish, path};
use integration_tests::token_server::{PASSWORD, TokenServer, USER};

use super::{build_arguments, buildctl, context};

/// A folder with docker's configuration that has the password for a registry.
fn logged_in(sandbox: &Sandbox, registry: &Registry) -> Result<PathBuf> {
    let folder = sandbox.path("logged-in");
    fs::create_dir_all(&folder)?;
    let login = STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let config = serde_json::json!({ "auths": { registry.address(): { "auth": login } } });
    fs::write(folder.join("config.json"), config.to_string())?;
    Ok(folder)
}

#[test]
fn tokens_for_registries_are_bought_by_the_client_and_its_password_stays_there() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let tokens = TokenServer::start()?;
    let folder = sandbox.path("registry");
    let registry = Registry::start_with(&folder, &tokens.configuration(&folder)?)?;
    let config = logged_in(&sandbox, &registry)?;
    let (context, host) = context(&sandbox)?;
    let daemon = Cooperd::start_with(&sandbox.path("daemon"), |command| {
        command.arg("--debug");
    })?;
    let build = |name: &str, more: &[(&str, &str)]| {
        let image = format!("{}/{name}", registry.address());
        let mut build = buildctl(&daemon, build_arguments(&context, &host));
        build
            .arg(format!("--output=type=image,name={image},push=true"))
            .env("DOCKER_CONFIG", &config)
            .envs(more.iter().copied());
        finish(build.output()?)
    };
    let first = build("app:1", &[])?;
    assert_eq!(first.code, 0, "{}", first.stderr);
    let asked = tokens.asked();
    assert!(!asked.is_empty(), "nobody bought a token");
    for request in &asked {
        // The client says who it is by the name that the daemon gave it; the daemon itself asks otherwise.
        assert_eq!(request.method, "POST", "{request:?}");
        assert!(
            request.form.contains("client_id=buildkit-client"),
            "{request:?}"
        );
    }
    assert!(
        !daemon.log().contains(PASSWORD),
        "the password is in the log"
    );

    // The same user again: the token that is there serves once the client has signed for it.
    let second = build("app:1", &[])?;
    assert_eq!(second.code, 0, "{}", second.stderr);
    assert_eq!(
        tokens.asked().len(),
        asked.len(),
        "a token was bought twice"
    );

    // A client that was told to leave it to the daemon.
    let third = build("app:1", &[("BUILDKIT_NO_CLIENT_TOKEN", "1")])?;
    assert_eq!(third.code, 0, "{}", third.stderr);
    let after = tokens.asked();
    let last = after.last().context("a request")?;
    assert_eq!(last.method, "GET", "{last:?}");
    Ok(())
}

/// A certificate and its key in files, by somebody whom everybody here trusts.
struct Certified {
    certificate: PathBuf,
    key: PathBuf,
}

/// Somebody who vouches for names.
struct Voucher {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    file: PathBuf,
    folder: PathBuf,
}

impl Voucher {
    fn new(folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(&folder)?;
        let mut params = rcgen::CertificateParams::new(Vec::new())?;
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate()?;
        let file = folder.join("ca.pem");
        fs::write(&file, params.self_signed(&key)?.pem())?;
        Ok(Self {
            issuer: rcgen::Issuer::new(params, key),
            file,
            folder,
        })
    }

    fn certify(&self, name: &str) -> Result<Certified> {
        let key = rcgen::KeyPair::generate()?;
        let params = rcgen::CertificateParams::new(vec![name.to_owned()])?;
        let certified = Certified {
            certificate: self.folder.join(format!("{name}.pem")),
            key: self.folder.join(format!("{name}.key")),
        };
        fs::write(
            &certified.certificate,
            params.signed_by(&key, &self.issuer)?.pem(),
        )?;
        fs::write(&certified.key, key.serialize_pem())?;
        Ok(certified)
    }
}

#[test]
fn only_clients_with_a_certificate_are_taken_over_the_network() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let ours = Voucher::new(sandbox.path("ours"))?;
    let others = Voucher::new(sandbox.path("others"))?;
    let server = ours.certify("localhost")?;
    let client = ours.certify("client")?;
    let stranger = others.certify("client")?;
    // Handed over, so that no other process can take the port in between.
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = format!("tcp://{}", listener.local_addr()?);
    let script = "export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\" 3<&0 0</dev/null";
    let mut daemon = Command::new("sh")
        .args(["-c", script, "sh", path(&binary("cooperd")), "--addr=fd://"])
        .args(["--root", path(&sandbox.path("root"))])
        .args([
            "--tlscert",
            path(&server.certificate),
            "--tlskey",
            path(&server.key),
        ])
        .args(["--tlscacert", path(&ours.file)])
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(listener)))
        .stderr(fs::File::create(sandbox.path("log"))?)
        .spawn()?;
    let ask = |shown: Option<&Certified>| {
        let mut command = Command::new(super::client("buildctl"));
        command
            .args(["--addr", &address, "--tlsservername=localhost"])
            .args(["--tlscacert", path(&ours.file)]);
        if let Some(shown) = shown {
            command
                .args(["--tlscert", path(&shown.certificate)])
                .args(["--tlskey", path(&shown.key)]);
        }
        finish(command.args(["debug", "workers"]).output()?)
    };
    let taken = ask(Some(&client))?;
    assert_eq!(taken.code, 0, "{}", taken.stderr);
    assert!(taken.stdout.contains("linux/"), "{}", taken.stdout);
    assert_ne!(ask(Some(&stranger))?.code, 0, "a stranger was taken");
    assert_ne!(
        ask(None)?.code,
        0,
        "somebody without a certificate was taken"
    );
    daemon.kill()?;
    daemon.wait()?;
    Ok(())
}
