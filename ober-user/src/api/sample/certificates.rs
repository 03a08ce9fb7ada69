use crate::api::status::certificates::{Behind, Certificate, Certificates, Issued, Refused};

pub(super) fn certificates() -> Certificates {
    Certificates {
        held: vec![Certificate {
            source: "/etc/ober/s3.pem".into(),
            names: vec!["s3.test".into(), "*.s3.test".into()],
            issuer: "Test CA".into(),
            not_before: 1_690_000_000,
            not_after: 1_700_864_065,
            listeners: vec!["s3-443".into()],
            problem: Some("the previous certificate is kept: it holds no private key".into()),
        }],
        refused: vec![Refused {
            file: "/etc/ober/tls/bad.pem".into(),
            problem: "its private key is that of another certificate".into(),
        }],
        issued: vec![Issued {
            names: vec!["s3.test".into()],
            ordering: false,
            failures: 2,
            error: Some("the authority does not believe it".into()),
            next: Some(1_700_000_125),
        }],
        behind: vec![Behind {
            worker: 1,
            problem: "HAProxy says to `commit`: no".into(),
        }],
        taken: 4,
    }
}
