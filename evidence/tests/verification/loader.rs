//! A boot loader that starts the monitor: the log of a machine on which Debian's GRUB did, and each way in which another one can differ.
//!
//! `grub.log` was recorded by `measured-boot write` in the boot `loader-known` (`tests/loader.toml`); what it should say is written down beside
//! GRUB's script, in `tests/loader/`.

use adyton_evidence::files::{LoaderError, hexadecimal, loader, read_anchors};
use adyton_evidence::hash;
use adyton_evidence::log::kind;
use adyton_evidence::software::{Monitor, digest};
use adyton_evidence::verdict::{Code, Verdict};

use crate::boots::{
    COMMAND, FILE, IMAGE, Step, after, evidence, images, judge_on, name, places, read,
};
use crate::scene::{NONCE, SUBJECT, composition, refused};

const RECORDED: &[u8] = include_bytes!("grub.log");
const SCRIPT: &str = include_str!("../../../tests/loader/grub.cfg");
const EXPECTED: &str = include_str!("../../../tests/loader/expected.toml");

/// What the recorded machine extended before its monitor ran.
fn recorded() -> Vec<Step> {
    read(RECORDED)
}

/// GRUB's digest.
fn grub() -> String {
    hexadecimal(&images(&recorded())[0])
}

/// What the recorded machine should have done, not by its log but by GRUB's script.
fn rules() -> String {
    let expected: toml::Table = EXPECTED.parse().expect("TOML");
    // The file of the monitor is not here any more.
    let monitor = places(&recorded(), |step| step.place == FILE)[1];
    let digests = [hash(SCRIPT.as_bytes()), recorded()[monitor].digest];
    let list = |key: &str| -> Vec<&str> {
        let list = expected[key].as_array().expect("a list").iter();
        list.map(|entry| entry.as_str().expect("a string"))
            .collect()
    };
    let files = list("files").into_iter().zip(digests);
    let files: Vec<_> = files
        .map(|(name, digest)| format!("{{ name = {name:?}, digest = {:?} }}", hexadecimal(&digest)))
        .collect();
    format!(
        "[[loader]]\nname = \"GRUB\"\nimages = [{:?}]\ncommands = {:?}\nfiles = [{}]\n",
        grub(),
        list("commands"),
        files.join(", ")
    )
}

fn judge(evidence: &[u8], rules: &str) -> Verdict {
    judge_on(&recorded(), evidence, rules)
}

#[track_caller]
fn accepted_as_grub(verdict: Verdict) {
    assert_eq!(name(verdict).as_deref(), Some("GRUB"));
}

#[test]
fn what_grub_should_do_is_accepted_and_named() {
    accepted_as_grub(judge(&evidence(&recorded()), &rules()));
}

#[test]
fn a_loader_that_no_anchor_knows_is_refused() {
    refused(&judge(&evidence(&recorded()), ""), Code::UnknownBootEvent);
    let other = rules().replace(&grub(), &hexadecimal(&[7; 32]));
    refused(
        &judge(&evidence(&recorded()), &other),
        Code::UnknownBootEvent,
    );
}

#[test]
fn a_loader_of_which_nobody_says_what_it_does_is_refused() {
    let rules = rules();
    let (image, _) = rules.split_once("commands = ").expect("commands");
    refused(
        &judge(&evidence(&recorded()), image),
        Code::LoaderWithoutRules,
    );
    // Rules that say "nothing" are rules.
    let nothing = format!("{image}commands = []\nfiles = []\n");
    refused(
        &judge(&evidence(&recorded()), &nothing),
        Code::LoaderMismatch,
    );
    let mut silent = recorded();
    silent.retain(|step| !step.is_loaders());
    refused(&judge(&evidence(&silent), image), Code::LoaderWithoutRules);
    accepted_as_grub(judge(&evidence(&silent), &nothing));
    refused(&judge(&evidence(&silent), &rules), Code::LoaderMismatch);
}

/// Either half of the rules is refused where the other is missing.
#[test]
fn half_of_the_rules_is_an_error() {
    let rules = rules();
    let (most, files) = rules.split_once("files = ").expect("files");
    assert!(read_anchors(&format!("version = 1\n{most}")).is_err());
    let (image, _) = most.split_once("commands = ").expect("commands");
    assert!(read_anchors(&format!("version = 1\n{image}files = {files}")).is_err());
    assert!(read_anchors(&format!("version = 1\n{rules}")).is_ok());
    for (from, to) in [
        ("grub_cmd: set timeout=0", "set timeout=0"),
        ("grub_cmd: set timeout=0", ""),
        ("digest = ", "sha256 = "),
        ("name = \"/EFI", "file = \"/EFI"),
    ] {
        let misspelt = rules.replace(from, to);
        assert_ne!(misspelt, rules);
        assert!(read_anchors(&format!("version = 1\n{misspelt}")).is_err());
    }
    let (no_images, _) = image.split_once("images").expect("images");
    let none = format!("version = 1\n{no_images}images = []\ncommands = []\nfiles = []");
    assert!(read_anchors(&none).is_err());
}

/// Another command, another file.
#[test]
fn each_event_counts() {
    let genuine = recorded();
    for place in places(&genuine, Step::is_loaders) {
        for byte in [0, 31] {
            let mut steps = genuine.clone();
            steps[place].digest[byte] ^= 1;
            refused(&judge(&evidence(&steps), &rules()), Code::LoaderMismatch);
        }
    }
}

#[test]
fn each_event_must_be_there() {
    let genuine = recorded();
    for place in places(&genuine, Step::is_loaders) {
        let mut steps = genuine.clone();
        steps.remove(place);
        refused(&judge(&evidence(&steps), &rules()), Code::LoaderMismatch);
    }
}

#[test]
fn nothing_may_come_between() {
    let genuine = recorded();
    let more = [
        Step::command("insmod hello"),
        Step::command(""),
        Step::new(
            FILE,
            digest("hello.mod"),
            b"/EFI/debian/x86_64-efi/hello.mod\0",
        ),
        Step::new((8, kind::SEPARATOR), hash(&[0; 4]), &[0; 4]),
        Step::new((9, kind::ACTION), digest("action"), b"action"),
    ];
    let own = places(&genuine, Step::is_loaders);
    let behind = own.last().expect("a last one") + 1;
    for place in own.into_iter().chain([behind, genuine.len()]) {
        for step in &more {
            let mut steps = genuine.clone();
            steps.insert(place, step.clone());
            refused(&judge(&evidence(&steps), &rules()), Code::LoaderMismatch);
        }
        // The same twice.
        if let Some(step) = genuine.get(place).filter(|step| step.is_loaders()) {
            let mut steps = genuine.clone();
            steps.insert(place, step.clone());
            refused(&judge(&evidence(&steps), &rules()), Code::LoaderMismatch);
        }
    }
}

#[test]
fn the_order_counts() {
    let genuine = recorded();
    for register in [8, 9] {
        let own = places(&genuine, |step| step.place.0 == register);
        for pair in own.windows(2) {
            let mut steps = genuine.clone();
            steps.swap(pair[0], pair[1]);
            refused(&judge(&evidence(&steps), &rules()), Code::LoaderMismatch);
        }
    }
    // Each register has an order of its own: which of two came first is not proven.
    let mut apart = genuine;
    apart.sort_by_key(|step| step.place.0 == 9);
    accepted_as_grub(judge(&evidence(&apart), &rules()));
}

/// A command in the register of files, and the other way round.
#[test]
fn an_event_in_the_other_register_is_refused() {
    let genuine = recorded();
    for place in places(&genuine, Step::is_loaders) {
        let mut steps = genuine.clone();
        steps[place].place.0 = 17 - steps[place].place.0;
        refused(&judge(&evidence(&steps), &rules()), Code::LoaderMismatch);
    }
}

/// What is said beside a digest proves nothing, and neither helps nor harms.
#[test]
fn words_do_not_count() {
    let mut steps = recorded();
    for step in steps.iter_mut().filter(|step| step.is_loaders()) {
        step.data = b"grub_cmd: halt\0".to_vec();
    }
    accepted_as_grub(judge(&evidence(&steps), &rules()));
    // The right words with another digest.
    let mut steps = recorded();
    let place = places(&steps, |step| step.place == COMMAND)[4];
    steps[place].digest = hash(b"insmod hello");
    let verdict = judge(&evidence(&steps), &rules());
    refused(&verdict, Code::LoaderMismatch);
    let detail = &verdict.findings[0].detail;
    let short = &hexadecimal(&hash(b"insmod hello"))[..12];
    assert!(detail.contains(short), "{detail}");
}

/// What a refusal says is what was measured, and no terminal obeys it.
#[test]
fn a_refusal_says_what_differs() {
    let mut steps = recorded();
    let place = places(&steps, |step| step.place == COMMAND)[4];
    steps.insert(place, Step::command("echo \x1b[2J\u{202e}"));
    let verdict = judge(&evidence(&steps), &rules());
    refused(&verdict, Code::LoaderMismatch);
    let detail = &verdict.findings[0].detail;
    assert_eq!(
        detail,
        "GRUB: command 5 is `grub_cmd: echo \\u{1b}[2J\\u{202e}`, and should be `grub_cmd: set timeout=0`"
    );
}

/// Applications in another order, one more, and events of a type that is no application's.
#[test]
fn images_must_be_the_loaders() {
    let genuine = recorded();
    let own = places(&genuine, |step| step.place == IMAGE);
    let [grub, monitor] = own[..] else {
        panic!("two images");
    };
    let mut swapped = genuine.clone();
    swapped.swap(grub, monitor);
    refused(
        &judge(&evidence(&swapped), &rules()),
        Code::CodeAfterMonitor,
    );
    for place in [grub, monitor] {
        let mut more = genuine.clone();
        more.insert(place, Step::new(IMAGE, digest("evil"), b""));
        refused(&judge(&evidence(&more), &rules()), Code::UnknownBootEvent);
        let mut twice = genuine.clone();
        twice.insert(place, genuine[grub].clone());
        refused(&judge(&evidence(&twice), &rules()), Code::UnknownBootEvent);
    }
    let mut another = genuine.clone();
    another[grub].place.1 = kind::IPL;
    refused(
        &judge(&evidence(&another), &rules()),
        Code::UnknownBootEvent,
    );
    // A loader that did its work and was not measured.
    let mut hidden = genuine.clone();
    hidden.remove(grub);
    refused(&judge(&evidence(&hidden), &rules()), Code::LoaderMismatch);
}

/// Of several loaders with the same image that one counts whose rules hold.
#[test]
fn one_of_several_rules_suffices() {
    let old = rules().replace("grub_cmd: set fallback=1", "grub_cmd: set fallback=2");
    let old = old.replace("\"GRUB\"", "\"old\"");
    refused(&judge(&evidence(&recorded()), &old), Code::LoaderMismatch);
    let (image, _) = old.split_once("commands = ").expect("commands");
    let all = format!("{image}\n{old}\n{}", rules());
    accepted_as_grub(judge(&evidence(&recorded()), &all));
    // Commands of one with the files of another are neither's.
    let file = hexadecimal(&hash(SCRIPT.as_bytes()));
    let mixed = rules().replace(&file, &hexadecimal(&[7; 32]));
    refused(
        &judge(&evidence(&recorded()), &format!("{old}\n{mixed}")),
        Code::LoaderMismatch,
    );
}

/// Digests in the place of words mean the same.
#[test]
fn rules_can_be_digests() {
    let events = |place: (u32, u32)| {
        let steps = recorded()
            .into_iter()
            .filter(move |step| step.place == place);
        steps
            .map(|step| hexadecimal(&step.digest))
            .collect::<Vec<_>>()
    };
    let rules = format!(
        "[[loader]]\nname = \"GRUB\"\nimages = [{:?}]\ncommands = {:?}\nfiles = {:?}\n",
        grub(),
        events(COMMAND),
        events(FILE)
    );
    accepted_as_grub(judge(&evidence(&recorded()), &rules));
}

/// What the operator's tool reads from evidence is what GRUB's script says.
#[test]
fn the_tool_reads_the_rules() {
    let found = loader(&evidence(&recorded()), "GRUB").expect("a loader");
    let parse = |text: &str| text.parse::<toml::Table>().expect("TOML");
    assert_eq!(parse(&found), parse(&rules()));
    // Words that lie are not shown, and none can leave its place.
    let mut lying = recorded();
    let place = places(&lying, |step| step.place == COMMAND)[4];
    lying[place].data = b"grub_cmd: halt\0".to_vec();
    lying[place + 1] = Step::command("a\"b\\c\x1b\n[[machine]]\u{202e}");
    let found = loader(&evidence(&lying), "\"\n").expect("a loader");
    assert!(!found.contains("\"grub_cmd: halt\""), "{found}");
    assert!(
        found
            .chars()
            .all(|letter| letter == '\n' || (' '..='~').contains(&letter))
    );
    let verdict = judge(&evidence(&lying), &found);
    assert_eq!(name(verdict).as_deref(), Some("\"\n"));
}

#[test]
fn the_tool_says_why_it_reads_nothing() {
    let with = |keep: fn(&Step) -> bool| {
        let mut steps = recorded();
        steps.retain(keep);
        loader(&evidence(&steps), "GRUB")
    };
    assert_eq!(with(|step| !step.is_loaders()), Err(LoaderError::Silent));
    assert_eq!(
        loader(
            &Monitor::genuine().evidence(NONCE, SUBJECT, &composition()),
            ""
        ),
        Err(LoaderError::NoLoader)
    );
    assert_eq!(loader(b"", ""), Err(LoaderError::NoEvidence));
    let mut hiding = after(&recorded());
    hiding.tpm.extend(8, &[1; 32]);
    let evidence = hiding.evidence(NONCE, SUBJECT, &composition());
    assert_eq!(loader(&evidence, ""), Err(LoaderError::Log));
    let mut unmeasured = Monitor::genuine();
    unmeasured.measured = false;
    let evidence = unmeasured.evidence(NONCE, SUBJECT, &composition());
    assert_eq!(loader(&evidence, ""), Err(LoaderError::NoEvidence));
}
