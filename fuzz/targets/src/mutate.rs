//! Examples, and what a thoughtless sender makes of them: the same every time.

const ROUNDS: usize = 4000;
const MOST: usize = 16 << 10;

/// Vigna's splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) as usize % n.max(1)
    }
}

/// Changes some places: bits, odd values, missing, repeated and foreign pieces.
fn mutated(random: &mut Random, examples: &[&[u8]], words: &[&[u8]]) -> Vec<u8> {
    let mut data = examples[random.below(examples.len())].to_vec();
    for _ in 0..1 + random.below(6) {
        let at = random.below(data.len() + 1);
        let to = at + random.below((data.len() - at).min(64) + 1);
        match random.below(7) {
            0 if at < data.len() => data[at] ^= 1 << random.below(8),
            1 if at < data.len() => data[at] = [0, 1, 0x7f, 0x80, 0xff, b'0', b'%'][random.below(7)],
            2 => drop(data.drain(at..to)),
            3 => {
                let piece = data[at..to].repeat(1 + random.below(8));
                data.splice(at..at, piece);
            }
            4 => data.truncate(at),
            5 => drop(data.splice(at..to, words[random.below(words.len())].iter().copied())),
            _ => {
                let other = examples[random.below(examples.len())];
                let from = random.below(other.len() + 1);
                let piece = &other[from..other.len().min(from + 64)];
                data.splice(at..to, piece.iter().copied());
            }
        }
        data.truncate(MOST);
    }
    data
}

/// Runs a target on the examples and on what becomes of them; says which bytes it broke on.
fn run(target: fn(&[u8]), examples: &[&[u8]], words: &[&[u8]]) {
    let mut random = Random(17);
    for round in 0..ROUNDS {
        let data = match examples.get(round) {
            Some(example) => example.to_vec(),
            None => mutated(&mut random, examples, words),
        };
        if let Err(panic) = std::panic::catch_unwind(|| target(&data)) {
            eprintln!("round {round}, on {:?}", data.escape_ascii().to_string());
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn no_frame_breaks_the_reader() {
    let ethernet =
        |kind: [u8; 2], packet: &[u8]| [&[2, 0, 0, 0, 0, 1, 2, 1, 0, 0, 0, 1][..], &kind, packet].concat();
    let v4 = |protocol: u8, flags: [u8; 2], segment: &[u8]| {
        let length = (20 + segment.len() as u16).to_be_bytes();
        let head = [
            &[0x45, 0][..],
            &length,
            &[0, 5],
            &flags,
            &[64, protocol, 0, 0, 10, 0, 0, 4, 10, 0, 1, 5],
        ];
        ethernet([8, 0], &[&head.concat()[..], segment].concat())
    };
    let v6 = |next: u8, segment: &[u8]| {
        let length = (segment.len() as u16).to_be_bytes();
        let mut address = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
        let head = [&[0x60, 0, 0, 0][..], &length, &[next, 64], &address].concat();
        address[15] = 9;
        ethernet([0x86, 0xdd], &[&head[..], &address, segment].concat())
    };
    let syn: &[u8] = &[
        0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x60, 2, 0xff, 0xff, 0, 0, 0, 0, 2, 4, 5, 0xb4,
    ];
    let udp: &[u8] = &[0x9c, 0x40, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4];
    let echo: &[u8] = &[8, 0, 0, 0, 0, 7, 0, 1, 9, 9, 9, 9];
    let quoted = v4(17, [0, 0], udp);
    let error = [&[3, 4, 0, 0, 0, 0, 5, 0xdc][..], &quoted[14..]].concat();
    let hop_by_hop = [&[6, 0, 1, 4, 0, 0, 0, 0][..], syn].concat();
    let first = [&[17, 0, 0, 1, 0, 0, 0, 5][..], udp].concat();
    let mut solicitation = vec![135, 0, 0, 0, 0, 0, 0, 0];
    solicitation.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
    solicitation.extend([1, 1, 2, 0, 0, 0, 0, 1]);
    let question = [
        0, 1, 8, 0, 6, 4, 0, 1, 2, 1, 0, 0, 0, 1, 10, 0, 0, 4, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1,
    ];
    let examples = [
        v4(6, [0x40, 0], syn),
        v4(17, [0, 0], udp),
        v4(17, [0x20, 0], udp),
        v4(17, [0, 185], udp),
        v4(1, [0x40, 0], echo),
        v4(1, [0, 0], &error),
        v4(47, [0, 0], udp),
        v6(6, syn),
        v6(17, udp),
        v6(0, &hop_by_hop),
        v6(44, &first),
        v6(58, &solicitation),
        ethernet([8, 6], &question),
    ];
    let examples: Vec<&[u8]> = examples.iter().map(Vec::as_slice).collect();
    let words: [&[u8]; 6] = [
        &[0; 4],
        &[0xff; 4],
        &[0x4f],
        &[0x86, 0xdd],
        &[43, 255],
        &[0, 0, 0, 0, 0, 0],
    ];
    run(crate::frame, &examples, &words);
}

#[test]
fn no_body_breaks_the_query_reader() {
    let examples: [&[u8]; 3] = [
        b"Action=RunInstances&Version=2016-11-15&ImageId=ami-1&MinCount=1&MaxCount=2&SecurityGroupId.1=sg-1\
          &NetworkInterface.1.DeviceIndex=0&NetworkInterface.1.PrivateIpAddresses.1.Primary=true",
        b"Action=RunInstances&UserData=IyEvYmluL3No%0A&TagSpecification.1.ResourceType=instance\
          &TagSpecification.1.Tag.1.Key=Name&TagSpecification.1.Tag.1.Value=%C3%A9&DryRun=false",
        b"Action=DescribeVpcs&Filter.1.Name=cidr&Filter.1.Value.1=10.0.0.0%2F16&Filter.1.Value.2=*",
    ];
    let words: [&[u8]; 9] = [
        b"%",
        b"%zz",
        b"&&",
        b"=",
        b".18446744073709551616",
        b".0",
        b".1.1.1",
        b"+",
        b"\xff",
    ];
    run(crate::query, &examples, &words);
}

#[test]
fn no_request_breaks_the_verifier() {
    let examples: [&[u8]; 2] = [
        b"/\n\nhost: ec2.us-east-1.amazonaws.com\nx-amz-date: 19700101T000000Z\nauthorization: AWS4-HMAC-SHA256 \
          Credential=AKIAIOSFODNN7EXAMPLE/19700101/us-east-1/ec2/aws4_request, SignedHeaders=host;x-amz-date, \
          Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7\n\nAction=DescribeVpcs",
        b"/a%2Fb//../c\nX-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKID%2F19700101%2Fus-east-1%2Fec2\
          %2Faws4_request&X-Amz-Date=19700101T000000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=00\n\
          host: localhost\nx-amz-content-sha256: UNSIGNED-PAYLOAD\nx-amz-security-token: a\n\nbody",
    ];
    let words: [&[u8]; 9] = [
        b"%",
        b"%2",
        b"=,",
        b";",
        b"/",
        b"\n",
        b"99999999T999999Z",
        b"Credential=",
        b"\xc3",
    ];
    run(crate::signature, &examples, &words);
}

#[test]
fn no_template_breaks_the_reader() {
    let examples: [&[u8]; 3] = [
        include_bytes!("../../../examples/two-tier.yaml"),
        include_bytes!("../../../crates/stack/tests/data/cdk_isolated_subnets.json"),
        b"Resources: {V: {Type: 'AWS::EC2::VPC', Properties: {CidrBlock: !Sub ['${a}/16', {a: !Ref X}]}}}\n\
          Conditions: {A: !Not [!Equals [!FindInMap [M, a, b], !Select [0, !GetAZs '']]]}\n",
    ];
    let words: [&[u8]; 10] = [
        b"&a ",
        b"*a",
        b"<<: *a",
        b"!Sub '${",
        b"!GetAtt a.b.",
        b"[[[[[[[[",
        b"{\"Fn::If\": [",
        b"\n\n- ",
        b"---\n",
        b"\\u",
    ];
    run(crate::template, &examples, &words);
}
