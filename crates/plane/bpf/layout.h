/* SPDX-License-Identifier: Apache-2.0
 *
 * What the program and the engine both read and write. `src/fast/layout.rs` has the same types; `bpf/layout.txt` has
 * their sizes and offsets, and the build holds both against it.
 *
 * Addresses and ports are in network order, all else in the machine's.
 */
#ifndef ATOLL_LAYOUT_H
#define ATOLL_LAYOUT_H

#include <linux/types.h>

/* A flow in one direction. */
struct key4 {
	__u32 slot;     /* the port it comes in at, with its generation */
	__be32 numbers; /* source and destination port; ICMP: identifier, type, code */
	__be32 src;
	__be32 dst;
	__u32 protocol;
};

struct key6 {
	__u32 slot;
	__be32 numbers;
	__be32 src[4];
	__be32 dst[4];
	__u32 protocol;
};

/* A kept answer. The program alone writes `ends` and the last three fields and makes entries of its own; the engine alone does all
 * else. */
struct flow {
	__u32 tag;          /* of its key; first, so that it is written first where an entry's memory is used again */
	__u32 path;         /* its place in `paths` */
	__u32 path_version; /* the path that stands there must be this one */
	__u32 generation;   /* of the path's dependency cell */
	__u32 expires;      /* milliseconds of `now`, wrapping */
	__be16 number;      /* the port or identifier that NAT chose */
	__u8 state;         /* FLOW_ below; 0 for one that the engine put here */
	__u8 ends;          /* of a made one: 1 once this direction has said FIN */
	__u32 sequence;     /* of a made one: its number in `made` */
	__u32 last_seen;    /* milliseconds of `now` */
	__u64 packets;      /* on the wire: a super-segment counts as what it stands for */
	__u64 bytes;        /* from the Ethernet header on, a super-segment's once */
};

/* Made by the program from a decision. */
#define FLOW_MADE 1
/* Of a made one: the direction that answers. */
#define FLOW_BACK 2

/* New connections in one direction, whatever their source port. */
struct ask4 {
	__u32 slot;
	__be32 src;
	__be32 dst;
	__be16 dst_port;
	__u8 protocol;
	__u8 block; /* 0, or the high byte of the source port: where a NAT gateway gives ports, a decision is about these alone */
};

struct ask6 {
	__u32 slot;
	__be32 src[4];
	__be32 dst[4];
	__be16 dst_port;
	__u16 protocol;
};

/* What new connections become, by a walk that asked nothing of the source port but that it lies in this range. The engine alone writes it. */
struct decision {
	__u32 tag;    /* of what it is about; first, so that it is written first where an entry's memory is used again */
	__u32 number; /* by which the engine knows what was made from it */
	__u32 path;
	__u32 path_version;
	__u32 generation;
	__u32 reply_path;
	__u32 reply_path_version;
	__u32 reply_generation;
	__u32 reply_slot;
	__be32 reply_src[4]; /* the addresses of what answers; its ports are the question's, exchanged */
	__be32 reply_dst[4];
	__u32 expires;    /* of the decision */
	__u32 hold;       /* of the flows made from it, milliseconds */
	__u16 lowest;     /* source port, in the machine's order */
	__u16 highest;
	__u16 block;      /* 0, or what a NAT gateway gives for the source port's block: the low byte stays */
	__u16 reserved;
	__u32 again;      /* the number; last, so that it is written last */
};

/* A flow that was made, in both directions: the program and the engine agree here about who ends it. Its place is its number's
 * low bits. The engine gives places back in order. */
struct made {
	__u32 sequence; /* its number, once all of it stands; before, one that belongs to another place */
	__u32 state;    /* MADE_ below; changed in one step alone */
	__u32 since;    /* milliseconds of `now` when it was made */
	__u32 ended;    /* the same when a direction last said FIN */
	__u8 v6;
	__u8 protocol;
	__u16 reserved;
	__u32 fin;      /* what acknowledges the FIN there, in the machine's order */
	__u32 slot;
	__be32 numbers;
	__be32 src[4];
	__be32 dst[4];
	__u32 reply_slot;
	__be32 reply_numbers;
	__be32 reply_src[4];
	__be32 reply_dst[4];
	__u32 path;
	__u32 path_version;
	__u32 reply_path;
	__u32 reply_path_version;
	__u32 decision; /* its number */
	__u32 fin_back; /* what acknowledges the FIN that answers; with it, two cache lines */
};

/* What a direction has said. */
#define MADE_FIN 1
#define MADE_FIN_BACK 2
/* The program has ended it: nothing stands of it any more. */
#define MADE_OVER 4
/* The engine has taken it: SYN, FIN and RST are its own from now on. */
#define MADE_TAKEN 8
/* What the engine made of it is written down. One that is taken and not known died with its engine. */
#define MADE_KNOWN 16
/* Whoever sends that way has acknowledged the other's FIN. */
#define MADE_HEARD 32
#define MADE_HEARD_BACK 64
/* Both have said all and heard all: nothing more comes. */
#define MADE_CLOSED (MADE_FIN | MADE_FIN_BACK | MADE_HEARD | MADE_HEARD_BACK)

/* Places for made flows: a power of two. */
#define MADE_PLACES 32768
/* So many stay free, since processors may take one each at the same time. */
#define MADE_SPARE 1024

/* A kept answer that holds for another generation, and is else as it was. */
struct renewal {
	struct key6 key; /* IPv4 in the first words of the addresses */
	__u32 v6;
	__u32 path;
	__u32 path_version;
	__u32 generation;
	__be16 number;
	__u16 reserved;
};

/* So many at a time. */
#define RENEWALS 256

/* A port. */
struct port {
	__u32 slot_and_one; /* 0: none */
	__u32 may_make;     /* flows that may still be made from its packets, none if it is negative: the engine gives anew */
	__u32 may_come;     /* one more than its packets that the engine still takes; 0: as many as there are */
	__u32 refused;      /* packets that it did not take: the programs alone count */
	__u32 sums;         /* of a TAP: 1 where whoever reads it takes packets with unfinished checksums */
	__u32 reserved;
};

/* The engine's time. */
struct clock {
	__u32 now;   /* its milliseconds, wrapping; they stand still while there is no engine */
	__u32 alive; /* milliseconds of the machine when it last looked, wrapping */
	__u32 layout; /* of all these types: a later engine reads the maps only if it has the same */
	__u32 freed; /* the first made flow whose place is not given back yet */
	__u32 apart[12];
	__u32 made;  /* the number of the next flow to be made; in a cache line of its own */
	__u32 last[15];
};

/* Milliseconds after which an engine that has not looked is taken for gone. */
#define GONE 500

/* A verdict about a flow's packets: they are dropped. The program alone writes the count. */
struct verdict {
	__u32 cell;
	__u32 generation;
	__u32 expires;   /* milliseconds of `now`, wrapping */
	__u32 longest;   /* bytes of a packet that it is about */
	__u8 macs[12];   /* as they stand in a frame */
	__u8 hop_limit;  /* least */
	__u8 reserved[3];
	__u64 packets;
};

/* Where `number` goes. */
#define ROLE_NONE 0
#define ROLE_SOURCE 1
#define ROLE_DESTINATION 2
#define ROLE_ICMP_ID 3

#define PATH_CHECK_MACS 1
#define PATH_WRITE_MACS 2
#define PATH_WRITE_SRC 4
#define PATH_WRITE_DST 8
#define PATH_EXITS 16
/* Out of a port that is no veth: by its own queue, not to the other end. */
#define PATH_REDIRECT 32
/* To another host: `tunnels` has the rest, and `ifindex` is the path's own place there. */
#define PATH_TUNNEL 64

/* What many flows share. */
struct path {
	__u32 version; /* 0 while it is being written */
	__u32 cell;
	__u32 ifindex;
	__u32 mtu;
	__u8 macs_in[12];  /* destination and source, as they stand in a frame */
	__u8 macs_out[12]; /* the same */
	__be32 src[4];     /* IPv4 in the first word */
	__be32 dst[4];
	__u8 flags;
	__u8 role;
	__u8 hop_limit_decrement;
	__u8 reserved;
};

/* What is around a path's packets on their way to another host. */
struct tunnel {
	__u32 version; /* of the path that it belongs to */
	__u32 ifindex; /* of the VXLAN device */
	__be32 host[4]; /* IPv4 in the first word */
	__be32 own[4];  /* this host's address, of the same family */
	__u32 network;
	__u16 tag;
	__u16 v6; /* whether the hosts' addresses are IPv6 */
};

/* What is around a frame. */
struct label {
	__be32 host[4]; /* the other one */
	__u32 network;
	__u16 tag;
	__u16 v6;
};

/* The same, behind its MAC header where the engine reads or writes it. */
struct sealed {
	struct label label;
	__u32 seal[2]; /* that of `own`, which no other host knows: whoever has it is one of the two */
};

/* This host, for the others. */
struct own {
	__be32 address[4]; /* IPv4 in the first word */
	__u32 v6;
	__u32 seal[2]; /* the engine has another one each time it starts */
};

/* In `wires`: whose frames are looked at at all, with the place among the ports of the host's share. No network has this
 * number. */
#define ANY_NETWORK 0xffffffff

/* What happened to packets, counted on each processor: places in `counts`. Everything behind MADE was the engine's. */
enum count {
	COUNT_DELIVERED,
	COUNT_EXITED,
	COUNT_BYTES,
	COUNT_MADE, /* flows */
	COUNT_NO_FLOW,
	COUNT_STALE,
	COUNT_CONTROL, /* SYN, FIN, RST, ICMP errors, neighbour discovery */
	COUNT_ODD,     /* fragments, options, extension headers, tags, lengths that do not agree; to a TAP, unfinished checksums */
	COUNT_TOO_BIG,
	COUNT_HOP_LIMIT,
	COUNT_MAC,
	COUNT_DROPPED, /* of those that were the engine's: by a verdict of its own */
	COUNT_REFUSED, /* of those that were the engine's: dropped, since their port had sent too many */
	COUNT_ELSEWHERE, /* sent to other hosts */
	COUNT_WIRE,      /* of what came from other hosts: dropped, since no such host is known or it is no frame of theirs */
	COUNTS,
};

struct counts {
	__u64 of[COUNTS];
};

#endif
