//! A stage with certificates of its own, and how a client sees them.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use ober_tests::{
    certificate::{self, Authority},
    client::Client,
    lab::{VIP4, VIP6, until},
    nodes::one::{SECURE, Settings, Stage},
    pattern::Pattern,
};
use ober_user::api::status::certificates::Certificate;
use rustls::pki_types::CertificateDer;

pub(super) const PATH: &str = "/certificates/object";
pub(super) const CONTENT: Pattern = Pattern::new(3, 4_000);
pub(super) const SOON: Duration = Duration::from_secs(10);
pub(super) const VIPS: [IpAddr; 2] = [VIP4, VIP6];

/// A stage with an authority of its own, whose listener has these certificates.
pub(super) struct Scene {
    pub(super) stage: Stage,
    pub(super) authority: Authority,
}

impl Scene {
    pub(super) fn new(name: &str, certificates: &str) -> Self {
        let stage = Stage::new(name, &Settings::default()).expect("build the stage");
        let authority = Authority::new().expect("make an authority");
        let text = fs::read_to_string(&stage.ober.config).expect("read the configuration");
        let line = text.lines().find(|line| line.starts_with("certificate = "));
        let text = text.replace(line.expect("it names a certificate"), certificates);
        fs::write(&stage.ober.config, text).expect("write the configuration");
        let scene = Self { stage, authority };
        scene.write("s3.pem", &scene.authority.server(&VIPS).expect("issue"));
        scene
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.stage.cluster.lab.directory().join(name)
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("write a certificate");
    }

    /// Writes the text beside the file, and renames it over the file.
    pub(super) fn rename(&self, name: &str, text: &str) {
        self.write("beside", text);
        fs::rename(self.path("beside"), self.path(name)).expect("rename a certificate");
    }

    pub(super) fn named(&self, name: &str) -> String {
        self.authority
            .server_named(&[name.to_owned()])
            .expect("issue")
    }

    pub(super) fn start(&mut self) {
        self.stage.start().expect("start the daemon");
    }

    /// The certificate that a client gets which asks for this name, or for none.
    pub(super) fn shown(&self, name: Option<&str>) -> CertificateDer<'static> {
        let client = &self.stage.cluster.clients[0];
        certificate::shown(client, SocketAddr::new(VIP4, SECURE), name).expect("shake hands")
    }

    /// Waits until six handshakes in a row give this certificate; how long that took.
    pub(super) fn comes(&self, name: Option<&str>, text: &str) -> Duration {
        let (began, wanted) = (Instant::now(), leaf(text));
        until("the new certificate", SOON, || {
            Ok((0..6).all(|_| self.shown(name) == wanted).then_some(()))
        })
        .expect("it is shown");
        began.elapsed()
    }

    pub(super) fn held(&self, file: &str) -> Certificate {
        let path = self.path(file);
        until("a certificate in use", SOON, || {
            let held = self.stage.status()?.certificates.held;
            Ok(held.into_iter().find(|held| held.source == path))
        })
        .expect("it is in use")
    }

    /// Waits until the status has a problem with a file; its text.
    pub(super) fn problem(&self, file: &str, part: &str) -> String {
        until("a problem in the status", SOON, || {
            let problem = self.held(file).problem;
            Ok(problem.filter(|problem| problem.contains(part)))
        })
        .expect("it is told")
    }

    pub(super) fn workers(&self) -> Vec<i32> {
        self.stage
            .ober
            .workers(&self.stage.cluster.node)
            .expect("status")
    }

    pub(super) fn store_object(&self) -> Client {
        let client = Client::tls(
            SocketAddr::new(VIP4, SECURE),
            self.authority.client().expect("trust"),
        );
        self.stage.cluster.clients[0]
            .tokio(async || {
                client.create_bucket("certificates").await?;
                client.put(PATH, CONTENT).await
            })
            .expect("enter the client")
            .expect("store an object");
        client
    }
}

pub(super) fn leaf(text: &str) -> CertificateDer<'static> {
    certificate::leaf(text).expect("PEM")
}

pub(super) fn parts(text: &str) -> (&str, &str) {
    text.split_at(text.find("-----BEGIN PRIVATE").expect("a key"))
}

pub(super) fn link(to: &Path, at: &Path) {
    let beside = at.with_extension("link");
    symlink(to, &beside).expect("make a link");
    fs::rename(beside, at).expect("put it in its place");
}
