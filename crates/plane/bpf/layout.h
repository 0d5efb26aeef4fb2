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

/* A kept answer. The program alone writes the last four fields, the engine alone the others. */
struct flow {
	__u32 path;         /* its place in `paths` */
	__u32 path_version; /* the path that stands there must be this one */
	__u32 generation;   /* of the path's dependency cell */
	__u32 expires;      /* milliseconds of `now`, wrapping */
	__be16 number;      /* the port or identifier that NAT chose */
	__u16 reserved;
	__u32 last_seen; /* milliseconds of `now` */
	__u64 packets;   /* on the wire: a super-segment counts as what it stands for */
	__u64 bytes;     /* from the Ethernet header on, a super-segment's once */
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

/* What happened to packets, one count a processor: places in `counts`. Everything behind the first three went to the engine. */
enum count {
	COUNT_DELIVERED,
	COUNT_EXITED,
	COUNT_BYTES,
	COUNT_NO_FLOW,
	COUNT_STALE,
	COUNT_CONTROL, /* SYN, FIN, RST, ICMP errors, neighbour discovery */
	COUNT_ODD,     /* fragments, options, extension headers, tags, lengths that do not agree */
	COUNT_TOO_BIG,
	COUNT_HOP_LIMIT,
	COUNT_MAC,
	COUNTS,
};

#endif
