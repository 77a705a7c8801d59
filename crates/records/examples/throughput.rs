//! How fast records are written and read: `cargo run --release -p outgate-records --example throughput [FOLDER [MILLIONS]]`.
//! Writes that many million records of a plausible mix into a new folder below FOLDER, seals half of them, and reads them back.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use outgate_faults::Slug;
use outgate_records::read::{By, Step};
use outgate_records::write::Keep;
use outgate_records::{Entry, Filter, Recorder, Records, Stage, Stream, Times, Trouble, Writer};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = folder.join(format!("outgate-records-{}", std::process::id()));
    let millions: u64 = arguments.next().map_or(Ok(2), |text| text.parse())?;
    let result = measure(&folder, millions * 1_000_000);
    fs::remove_dir_all(&folder)?;
    result
}

fn measure(folder: &std::path::Path, records: u64) -> Result<(), Box<dyn Error>> {
    let writer = Writer::open(folder, Keep::default())?;
    let mut recorder = Recorder::new(Some(writer.clone()));
    let began = Instant::now();
    let busy = cpu();
    for number in 0..records {
        write(&mut recorder, number);
        // A gateway does other things in between; here the disk is given time, so that nothing is dropped.
        while number % 1000 == 0 && writer.health().written + 10_000 < number {
            std::thread::yield_now();
        }
    }
    recorder.hand_over();
    writer.close();
    let (took, health) = (began.elapsed(), writer.health());
    let live = folder.join("access.jsonl");
    let plain = plain_size(folder)?;
    say(&format!(
        "written: {} records of {} bytes, {:.0} ns of processor each, the writing thread's included; {:.0} MB/s here, {} dropped",
        health.written,
        plain / records,
        (cpu() - busy).as_nanos() as f64 / records as f64,
        plain as f64 / took.as_secs_f64() / 1e6,
        writer.dropped(),
    ));
    read("plain", folder, plain)?;

    let sealed = cpu();
    let mut part = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "jsonl") && fs::metadata(&path)?.len() > 0 {
            part += 1;
            let name = format!("access-2026-11-21T18{}.jsonl.zst", if part > 1 { format!("-{part}") } else { String::new() });
            zstd::stream::copy_encode(fs::File::open(&path)?, fs::File::create(folder.join(name))?, 3)?;
            fs::remove_file(&path)?;
        }
    }
    fs::write(live, "")?;
    let small = plain_size(folder)?;
    say(&format!(
        "sealed: {} files, {:.1} times smaller, {:.0} MB per core and second",
        part,
        plain as f64 / small as f64,
        plain as f64 / (cpu() - sealed).as_secs_f64() / 1e6
    ));
    read("sealed", folder, plain)
}

fn read(what: &str, folder: &std::path::Path, bytes: u64) -> Result<(), Box<dyn Error>> {
    let records = Records::in_folder(folder);
    let all = Filter::default();
    let key = Filter { key: Some("key7".into()), ..Filter::default() };
    let late = Filter { since: Some("2100-01-01T00:00:00Z".parse()?), ..Filter::default() };
    let failed = Filter { failed: true, ..Filter::default() };
    let by = |filter: &Filter, by| records.summarize(Stream::Access, filter, by, Step::Setup).map(|found| found.all.requests);
    let runs: [(&str, &dyn Fn() -> std::io::Result<u64>); 6] = [
        ("all, counted by outcome", &|| by(&all, By::Outcome)),
        ("all, counted by target", &|| by(&all, By::Target)),
        ("the failed, counted by outcome", &|| by(&failed, By::Outcome)),
        ("those of one key in a thousand", &|| by(&key, By::Outcome)),
        ("none: later than all", &|| by(&late, By::Outcome)),
        ("one, by its id", &|| records.find("nobody-has-this-id").map(|found| u64::from(found.is_some()))),
    ];
    for (name, run) in runs {
        let best = (0..3)
            .map(|_| {
                let (began, busy) = (Instant::now(), cpu());
                run().map(|found| (cpu() - busy, began.elapsed(), found))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let (busy, took, found) = best.into_iter().min().ok_or("three runs")?;
        let speed = |time: Duration| bytes as f64 / time.as_secs_f64() / 1e9;
        say(&format!("{what}: {name}: {:.2} GB per core and second, {:.2} GB/s here ({found} found)", speed(busy), speed(took)));
    }
    Ok(())
}

fn write(recorder: &mut Recorder, number: u64) {
    let failed = number.is_multiple_of(8);
    let (key, target, id) =
        (format!("key{}", number % 1000), format!("www{}.example.com:443", number % 5000), format!("{number:024x}"));
    let ms = |n: u64| Duration::from_micros(n % 900_000);
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    recorder.write(&Entry {
        time: Timestamp::from_millisecond(1_795_280_400_000 + (number / 2) as i64).unwrap_or_default(),
        request_id: &id,
        trace_id: None,
        key: Some(&key),
        client: "192.0.2.17",
        protocol: "http",
        method: "CONNECT",
        target: &target,
        address: Some("198.51.100.7:443"),
        pool: Some("residential"),
        exit: Some("exit-4711"),
        gateway: None,
        proxy: None,
        bypass: None,
        country: Some("us"),
        session: None,
        session_moved: None,
        trouble: failed.then(|| Trouble {
            slug: Slug::ConnectTimeout,
            sentence: "no connection within 10 s".into(),
            detail: Some("198.51.100.7:443: timed out".into()),
        }),
        stage: Stage::Settle,
        status: Some(if failed { 504 } else { 200 }),
        told: None,
        ended_by: Some("client"),
        bytes_up: mixed,
        bytes_down: mixed * 17,
        attempts: 1,
        times: Times {
            queue: Duration::from_micros(120),
            dns: ms(mixed),
            connect: ms(mixed * 3),
            tls: None,
            setup: Some(ms(mixed * 4)),
            first_byte: None,
        },
        total: ms(mixed * 9),
        tries: &[],
    });
}

/// What this process has had of the processor: on a machine that does other things, too, the clock says little.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn plain_size(folder: &std::path::Path) -> std::io::Result<u64> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.metadata()?.len())).sum()
}

fn say(line: &str) {
    use std::io::Write;
    let _reader_gone = writeln!(std::io::stdout(), "{line}");
}
