//! Runs a payload in a confidential domain and prints what it says: `hello FILE [ARGUMENTS]`.

use std::error::Error;
use std::io;

use adyton::{Console, Flags, Image, Outcome, Pool, Program};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (file, rest) = arguments
        .split_first()
        .ok_or("usage: hello FILE [ARGUMENTS]")?;
    let file = std::fs::read(file)?;

    // What the domain is made of: an image, and what it gets besides.
    let mut program = Program::new(Image::parse(&file)?, Flags::CONFIDENTIAL);
    program.arguments = rest.iter().map(String::as_str).collect();

    // Where it is made: a claim, which is released when the last handle is dropped.
    let pool = Pool::discover()?;
    let claim = pool.claim(program.claim_size())?;
    let mut loaded = program.build(&claim)?;

    // From here on nothing is added to it, and nobody else reads it.
    loaded.domain.seal()?;
    let mut console = Console::of(&loaded).ok_or("a console")?;
    let vcpu = &mut loaded.vcpus[0];
    match console.run(vcpu, 0, &mut io::stdin(), &mut io::stdout())? {
        Outcome::Finished(0) => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}
