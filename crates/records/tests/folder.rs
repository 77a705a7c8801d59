//! A folder of records from outside: written, read, counted, followed.

use std::fs;
use std::io::{ErrorKind, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use outgate_faults::{Slug, raise};
use outgate_records::read::{By, Follow, Step};
use outgate_records::write::Keep;
use outgate_records::{Entry, Filter, Recorder, Records, Stage, Stream, Times, Trouble, Writer, find};

fn entry<'a>(id: &'a str, key: &'a str) -> Entry<'a> {
    Entry {
        time: "2026-11-21T18:00:00.123Z".parse().expect("a time"),
        request_id: id,
        trace_id: None,
        key: Some(key),
        client: "192.0.2.1",
        protocol: "http",
        method: "CONNECT",
        target: "example.com:443",
        address: None,
        pool: None,
        exit: None,
        gateway: None,
        proxy: None,
        bypass: None,
        country: None,
        session: None,
        session_moved: None,
        trouble: None,
        stage: Stage::Settle,
        status: Some(200),
        told: None,
        ended_by: None,
        bytes_up: 10,
        bytes_down: 20,
        attempts: 1,
        times: Times { setup: Some(Duration::from_millis(4)), ..Times::default() },
        total: Duration::from_millis(9),
        tries: &[],
    }
}

fn line(id: &str) -> String {
    format!(r#"{{"v":1,"time":"2026-11-21T18:00:00.123Z","request_id":"{id}","outcome":"ok","ms":{{"total":1.0}}}}"#) + "\n"
}

fn ids(records: &Records, stream: Stream) -> Vec<String> {
    let mut ids = Vec::new();
    let each = records.each(stream, &Filter::default(), &mut |line| {
        ids.push(id_of(line));
        ControlFlow::Continue(())
    });
    each.expect("they can be read");
    ids
}

fn id_of(line: &[u8]) -> String {
    outgate_records::Record::parse(line).expect("a record").request_id
}

#[test]
fn what_is_written_is_read_and_found_in_its_stream() {
    let folder = tempfile::tempdir().unwrap();
    let writer = Writer::open(folder.path(), Keep::default()).unwrap();
    let mut recorder = Recorder::new(Some(writer.clone()));
    let wrong = raise::credentials_wrong();
    for number in 0..1000 {
        recorder.write(&entry(&number.to_string(), "k1"));
    }
    recorder.write(&Entry { trouble: Some(Trouble::from(&wrong)), status: Some(407), ..entry("wrong", "k2") });
    recorder.hand_over();
    writer.close();
    let health = writer.health();
    assert_eq!((health.written, health.too_fast, health.refused, health.failing), (1001, 0, 0, None));

    let records = Records::in_folder(folder.path());
    let expected: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
    assert_eq!(ids(&records, Stream::Access), expected);
    assert_eq!(ids(&records, Stream::Auth), ["wrong"]);
    let newest = records.newest(Stream::Access, &Filter::default(), 3).unwrap();
    assert_eq!(newest.iter().map(|record| record.request_id.as_str()).collect::<Vec<_>>(), ["999", "998", "997"]);
    assert!(records.newest(Stream::Access, &Filter::default(), 0).unwrap().is_empty());

    let found = find(folder.path(), "wrong").unwrap().unwrap();
    assert_eq!((found.stream, found.record.slug()), (Stream::Auth, Some(Slug::CredentialsWrong)));
    assert_eq!(find(folder.path(), "500").unwrap().unwrap().record.key.as_deref(), Some("k1"));
    assert!(find(folder.path(), "none").unwrap().is_none());
    assert!(find(&folder.path().join("none"), "500").unwrap().is_none(), "a folder that is not there has none");
}

#[test]
fn live_plain_and_sealed_files_are_one_in_the_order_of_writing() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &[u8]| fs::write(folder.path().join(name), text).unwrap();
    put("access-2026-11-21T16.jsonl.zst", &zstd::encode_all((line("a") + &line("b")).as_bytes(), 1).unwrap());
    put("access-2026-11-21T17.jsonl", (line("c") + "{\"half\":").as_bytes());
    put("access-2026-11-21T17-2.jsonl", (line("d") + "no record\n" + &line("e")).as_bytes());
    put("access.jsonl", line("f").as_bytes());
    for threads in [1, 3] {
        let records = Records::in_folder(folder.path()).with_threads(threads);
        assert_eq!(ids(&records, Stream::Access), ["a", "b", "c", "d", "e", "f"]);
        let newest = records.newest(Stream::Access, &Filter::default(), 4).unwrap();
        assert_eq!(newest.iter().map(|record| record.request_id.as_str()).collect::<Vec<_>>(), ["f", "e", "d", "c"]);
        let summary = records.summarize(Stream::Access, &Filter::default(), By::Outcome, Step::Total).unwrap();
        assert_eq!((summary.all.requests, summary.groups().len()), (6, 1));
    }
    let late = Records::in_folder(folder.path()).until(Instant::now() - Duration::from_secs(1));
    let error = late.summarize(Stream::Access, &Filter::default(), By::Outcome, Step::Total).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    put("access-2026-11-21T15.jsonl.zst", b"this is not zstd");
    assert!(
        Records::in_folder(folder.path()).newest(Stream::Access, &Filter::default(), 9).is_err(),
        "what can't be read is told"
    );
}

#[test]
fn records_are_counted_by_what_they_have_in_common() {
    let folder = tempfile::tempdir().unwrap();
    let writer = Writer::open(folder.path(), Keep::default()).unwrap();
    let mut recorder = Recorder::new(Some(writer.clone()));
    let failed = raise::dns_timeout("example.com");
    for (number, key) in ["k1", "k1", "k2", "k1"].into_iter().enumerate() {
        let id = number.to_string();
        let trouble = (number == 3).then(|| Trouble::from(&failed));
        recorder.write(&Entry { trouble, ..entry(&id, key) });
    }
    recorder.hand_over();
    writer.close();
    let records = Records::in_folder(folder.path());
    let summary = |by| records.summarize(Stream::Access, &Filter::default(), by, Step::Setup).unwrap();
    let groups = |by| {
        let summary = summary(by);
        let groups = summary.groups().into_iter().map(|(name, group)| (name.to_owned(), group.requests, group.failed));
        groups.collect::<Vec<_>>()
    };
    let group = |name: &str, requests, failed| (name.to_owned(), requests, failed);
    assert_eq!(groups(By::Key), [group("k1", 3, 1), group("k2", 1, 0)]);
    assert_eq!(groups(By::Outcome), [group("ok", 3, 0), group("dns_timeout", 1, 1)]);
    assert_eq!(groups(By::Layer), [group("(none)", 3, 0), group("target", 1, 1)]);
    assert_eq!(groups(By::Target), [group("example.com", 4, 1)]);
    assert_eq!(groups(By::Status), [group("200", 4, 1)]);
    assert_eq!(groups(By::Exit), [group("(none)", 4, 1)]);
    assert_eq!(groups(By::Hour), [group("2026-11-21T18", 4, 1)]);
    let all = summary(By::Key).all;
    assert_eq!((all.bytes_up, all.bytes_down, all.took.count(), all.took.most()), (40, 80, 4, 4000));
    assert_eq!(records.summarize(Stream::Access, &Filter::default(), By::Key, Step::Tls).unwrap().all.took.quantile(0.5), None);
}

fn append(folder: &Path, text: &str) {
    let file = fs::OpenOptions::new().create(true).append(true).open(folder.join("access.jsonl"));
    file.and_then(|mut file| file.write_all(text.as_bytes())).expect("the folder is ours");
}

fn polled(follow: &mut Follow) -> Vec<String> {
    let mut ids = Vec::new();
    let polled = follow.poll(&Filter::default(), &mut |line| {
        ids.push(id_of(line));
        ControlFlow::Continue(())
    });
    assert!(polled.expect("it can be read").is_continue());
    ids
}

#[test]
fn a_stream_is_followed_from_file_to_file() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let records = Records::in_folder(folder);
    let mut from_nothing = records.follow(Stream::Access).unwrap();
    assert!(polled(&mut from_nothing).is_empty());
    append(folder, &line("a"));
    let mut from_now = records.follow(Stream::Access).unwrap();
    let mut before = Vec::new();
    let mut from_all = records
        .each_and_follow(Stream::Access, &Filter::default(), &mut |line| {
            before.push(id_of(line));
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(before.is_empty(), "the live file comes with the first poll");
    assert_eq!(
        (polled(&mut from_nothing), polled(&mut from_now), polled(&mut from_all)),
        (vec!["a".into()], vec![], vec!["a".into()])
    );

    let (whole, half) = (line("b"), "{\"v\":1,\"time\":\"2026-");
    append(folder, &(whole.clone() + half));
    assert_eq!(polled(&mut from_now), ["b"]);
    // The writer takes back half a line, and another is written in its place.
    let file = fs::OpenOptions::new().write(true).open(folder.join("access.jsonl")).unwrap();
    file.set_len((line("a") + &whole).len() as u64).unwrap();
    assert!(polled(&mut from_now).is_empty());
    append(folder, &line("c"));
    assert_eq!(polled(&mut from_now), ["c"]);

    // The hour ends; what was written last before is not missed.
    append(folder, &line("d"));
    fs::rename(folder.join("access.jsonl"), folder.join("access-2026-11-21T18.jsonl")).unwrap();
    assert_eq!(polled(&mut from_now), ["d"]);
    append(folder, &line("e"));
    assert_eq!(polled(&mut from_now), ["e"]);
    assert_eq!(polled(&mut from_all), ["b", "c", "d", "e"]);
    let mut past = Vec::new();
    let mut follow = records
        .each_and_follow(Stream::Access, &Filter::default(), &mut |line| {
            past.push(id_of(line));
            ControlFlow::Continue(())
        })
        .unwrap();
    past.extend(polled(&mut follow));
    assert_eq!(past, ["a", "b", "c", "d", "e"]);
}

/// Another event loop must be able to go on while the disk hangs: records are dropped, and counted.
#[test]
fn who_hands_over_never_waits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.jsonl");
    // Whoever writes into a full pipe waits.
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
    let reader = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let writer = Writer::open(folder.path(), Keep::default()).unwrap();
    let mut recorder = Recorder::new(Some(writer.clone()));
    let mut written = 0;
    while writer.health().too_fast == 0 {
        recorder.write(&entry("id", "k1"));
        written += 1;
        assert!(written < 1_000_000, "nothing is dropped");
    }
    assert!(writer.dropped() > 0);
    // The disk is back: what waited is written.
    let drained = std::thread::spawn(move || {
        let mut reader = reader;
        let mut sink = vec![0; 1 << 20];
        let mut lines = 0;
        while lines + 100 < written / 2 {
            let read = std::io::Read::read(&mut reader, &mut sink).unwrap();
            lines += sink[..read].iter().filter(|byte| **byte == b'\n').count() as u64;
        }
    });
    drop(recorder);
    drained.join().unwrap();
}
