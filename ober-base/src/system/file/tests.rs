use std::{
    fs,
    os::unix::{fs::symlink, net::UnixListener},
    path::PathBuf,
    time::Instant,
};

use nix::{sys::stat::Mode, unistd::mkfifo};

use super::*;

const KINDS: [Kind; 8] = [
    Kind::Configuration,
    Kind::List,
    Kind::Slurm,
    Kind::Certificate,
    Kind::Authorities,
    Kind::Secret,
    Kind::Note,
    Kind::Own,
];

fn said<T>(result: io::Result<T>) -> String {
    result.map_or_else(|error| error.to_string(), |_| "it was read".to_owned())
}

#[test]
fn a_file_that_is_not_regular_is_refused_at_once_for_every_kind_even_behind_a_link() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    mkfifo(&at("pipe"), Mode::S_IRWXU).unwrap();
    let _socket = UnixListener::bind(at("socket")).unwrap();
    fs::create_dir(at("directory")).unwrap();
    symlink("/dev/zero", at("zero")).unwrap();
    symlink(at("pipe"), at("link")).unwrap();
    let begun = Instant::now();
    for kind in KINDS {
        for (path, what) in [
            (at("pipe"), "a named pipe"),
            (at("link"), "a named pipe"),
            (at("socket"), "a socket"),
            (at("directory"), "a directory"),
            (at("zero"), "a device"),
            (PathBuf::from("/dev/ptmx"), "a device"),
        ] {
            let words = format!("it is {what} and must be a regular file");
            for said in [
                said(open(&path, kind)),
                said(read(&path, kind)),
                said(text(&path, kind)),
            ] {
                assert_eq!(said, words, "{kind:?} {}", path.display());
            }
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_file_is_read_up_to_the_size_of_its_kind_and_not_a_byte_beyond() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("file");
    for kind in KINDS {
        let file = fs::File::create(&path).unwrap();
        // Sparse: a gigabyte takes no disk space.
        file.set_len(kind.most() + 1).unwrap();
        let words = said(read(&path, kind));
        assert!(words.starts_with("it is larger than "), "{kind:?} {words}");
        assert!(words.ends_with(kind.words()), "{kind:?} {words}");
        file.set_len(kind.most()).unwrap();
        assert!(open(&path, kind).is_ok(), "{kind:?}");
    }
    fs::write(&path, [b'x'; 4096]).unwrap();
    assert_eq!(read(&path, Kind::Secret).unwrap().len(), 4096);
    let words = said(Err::<(), _>(Unfit::Large { kind: Kind::Secret }.into()));
    assert_eq!(words, "it is larger than 4 KiB, the most for a secret");
}

#[test]
fn a_file_of_stated_length_zero_is_read_up_to_the_limit() {
    // Files in `/proc` state the length 0 and have more.
    let path = Path::new("/proc/self/maps");
    assert_eq!(fs::metadata(path).unwrap().len(), 0);
    assert!(!read(path, Kind::Certificate).unwrap().is_empty());
    assert!(said(read(path, Kind::Secret)).starts_with("it is larger than 4 KiB"));
}

#[test]
fn a_missing_file_and_one_that_is_no_text_give_their_own_errors() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("file");
    let kind = |result: io::Result<String>| result.unwrap_err().kind();
    assert_eq!(kind(text(&path, Kind::Note)), io::ErrorKind::NotFound);
    fs::write(&path, b"\xff\xfe").unwrap();
    assert_eq!(kind(text(&path, Kind::Note)), io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn an_unanswering_file_system_delays_only_its_caller_and_for_a_limited_time() {
    let limit = Duration::from_millis(50);
    let free = Arc::new(Semaphore::new(4));
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let stopped = Arc::new(std::sync::Mutex::new(stopped));
    for _ in 0..8 {
        let stopped = Arc::clone(&stopped);
        let hangs = bounded(Arc::clone(&free), limit, move || {
            stopped.lock().unwrap().recv().is_err()
        });
        assert_eq!(hangs.await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
    drop(stop);
    let back = bounded(free, Duration::from_secs(30), || 7).await;
    assert_eq!(back.unwrap(), 7);
}
