// SPDX-License-Identifier: Apache-2.0
//
// The kept answers of the engine, obeyed in the kernel: at tcx ingress of every port's host end. There are no rules
// in here: a packet whose flow is not known, or is anything but plain, goes on to the packet socket behind and so to the
// engine, which walks it. See docs/decisions/0009.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "layout.h"
#include "layout_assert.h" /* made by the build */

/* What tcx takes from a program (Debian 12's kernel headers are older than tcx). */
#define TO_ENGINE -1 /* left to whoever comes next: the packet socket */
#define DROP 2

/* Sizes are set when it is loaded. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct key4);
	__type(value, struct flow);
} flows4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct key6);
	__type(value, struct flow);
} flows6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct path);
} paths SEC(".maps");

/* The generation of each dependency cell. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u32);
} cells SEC(".maps");

/* By interface index. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct port);
} ports SEC(".maps");

/* The engine's clock. It stands still while there is no engine: what is known then goes on. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct clock);
} now SEC(".maps");

/* Flows whose packets are dropped. Apart from those that go on, and small: a scan fills nobody's table. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct key4);
	__type(value, struct verdict);
} drops4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct key6);
	__type(value, struct verdict);
} drops6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct ask4);
	__type(value, struct decision);
} decisions4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct ask6);
	__type(value, struct decision);
} decisions6 SEC(".maps");

/* Flows that were made, for the engine to learn of. Where there is no room for one more, none is made. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MADE_PLACES);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct made);
} made SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counts);
} counts SEC(".maps");

/* What was read of a packet, and where it is counted. */
struct seen {
	struct counts *counts;
	struct port *port;
	struct clock *time;
	__u32 at;     /* where the transport header begins */
	__u32 length; /* bytes of the longest IP packet that it stands for on the wire */
	__u32 clock;
	__u32 tag;    /* of its flow's key */
	__u8 protocol;
	__u8 hop_limit;
	__u8 v6;
	__u8 syn;
	__u8 ack;
	__u8 fin;
	__u8 rst;
	__be16 src_port; /* or ICMP's identifier */
	__be16 dst_port;
	__be32 src[4];
	__be32 dst[4];
};

static __always_inline __u32 tag4(const struct key4 *key)
{
	return key->slot ^ key->numbers ^ key->src ^ key->dst ^ key->protocol;
}

static __always_inline __u32 tag6(const struct key6 *key)
{
	return key->slot ^ key->numbers ^ key->src[0] ^ key->src[1] ^ key->src[2] ^ key->src[3] ^ key->dst[0] ^
	       key->dst[1] ^ key->dst[2] ^ key->dst[3] ^ key->protocol;
}

/* Whether there is an engine. What it would have to hear of is not done without it. */
static __always_inline int attended(struct seen *seen)
{
	__u32 here = bpf_ktime_get_coarse_ns() / 1000000;

	return here - *(volatile __u32 *)&seen->time->alive < GONE;
}

/* A packet of a flow that is known: the engine takes it. */
static __always_inline int to_engine_known(struct seen *seen, __u32 why)
{
	seen->counts->of[why]++;
	return TO_ENGINE;
}

/* Any other: the engine takes so many of a port where it has more to do than it can. */
static __always_inline int to_engine(struct seen *seen, __u32 why)
{
	__u32 may_come = *(volatile __u32 *)&seen->port->may_come;

	if (may_come > 1) {
		seen->port->may_come = may_come - 1; /* about: two processors may count one */
	} else if (may_come == 1 && attended(seen)) {
		__sync_fetch_and_add(&seen->port->refused, 1);
		seen->counts->of[COUNT_REFUSED]++;
		return DROP;
	}
	return to_engine_known(seen, why);
}

/* Reads the transport header at `l4`, which is `rest` bytes long with its payload. Sets *why if the packet is the engine's. */
static __always_inline void transport(struct __sk_buff *skb, void *l4, void *end, __u32 rest, struct seen *seen, int *why)
{
	__u32 header;

	switch (seen->protocol) {
	case IPPROTO_TCP: {
		struct tcphdr *tcp = l4;

		if ((void *)(tcp + 1) > end)
			goto odd;
		header = tcp->doff * 4;
		if (header < sizeof(*tcp) || header > rest)
			goto odd;
		seen->syn = tcp->syn;
		seen->ack = tcp->ack;
		seen->fin = tcp->fin;
		seen->rst = tcp->rst;
		seen->src_port = tcp->source;
		seen->dst_port = tcp->dest;
		break;
	}
	case IPPROTO_UDP: {
		struct udphdr *udp = l4;

		if ((void *)(udp + 1) > end)
			goto odd;
		header = sizeof(*udp);
		if (bpf_ntohs(udp->len) < header || bpf_ntohs(udp->len) > rest)
			goto odd;
		seen->src_port = udp->source;
		seen->dst_port = udp->dest;
		break;
	}
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6: {
		__u8 *icmp = l4;

		if (seen->v6 != (seen->protocol == IPPROTO_ICMPV6) || l4 + 8 > end || rest < 8)
			goto odd;
		/* Echo and timestamp carry an identifier; all else says something about another packet or about neighbours. */
		if (seen->v6 ? icmp[0] != 128 && icmp[0] != 129
			     : icmp[0] != 0 && icmp[0] != 8 && icmp[0] != 13 && icmp[0] != 14) {
			*why = COUNT_CONTROL;
			return;
		}
		if (skb->gso_size)
			goto odd;
		seen->src_port = *(__be16 *)(icmp + 4);
		seen->dst_port = *(__be16 *)icmp;
		header = 0;
		break;
	}
	default:
		goto odd;
	}
	if (skb->gso_size) {
		__u32 segment = seen->at - ETH_HLEN + header + skb->gso_size;

		if (segment < seen->length)
			seen->length = segment;
	}
	return;
odd:
	*why = COUNT_ODD;
}

/* Copies a path if it is the one that is meant and its answers are of this generation. */
static __always_inline int find_path(__u32 number, __u32 version, __u32 generation, struct path *path)
{
	struct path *shared = bpf_map_lookup_elem(&paths, &number);
	__u32 cell, *now_of_cell;

	if (!shared)
		return 0;
	/* The engine may be writing another path into this place: what is read counts if the version stayed. */
	if (*(volatile __u32 *)&shared->version != version)
		return 0;
	asm volatile("" ::: "memory");
	__builtin_memcpy(path, shared, sizeof(*path));
	asm volatile("" ::: "memory");
	if (*(volatile __u32 *)&shared->version != version)
		return 0;
	cell = path->cell;
	now_of_cell = bpf_map_lookup_elem(&cells, &cell);
	return now_of_cell && *(volatile __u32 *)now_of_cell == generation;
}

/* Whether a path takes the packet: 0, or why it is the engine's. */
static __always_inline int fits(struct path *path, struct seen *seen, void *data, void *end)
{
	if (path->flags & PATH_CHECK_MACS) {
		__u32 *have = data, want[3];

		if (data + 12 > end)
			return COUNT_ODD;
		__builtin_memcpy(want, path->macs_in, sizeof(want));
		if (have[0] != want[0] || have[1] != want[1] || have[2] != want[2])
			return COUNT_MAC;
	}
	if (seen->hop_limit <= path->hop_limit_decrement)
		return COUNT_HOP_LIMIT;
	if (seen->length > path->mtu)
		return COUNT_TOO_BIG;
	return 0;
}

/* Whether a verdict is about the packet too, which then ends here. */
static __always_inline int ends_here(struct verdict *verdict, struct seen *seen, void *data, void *end)
{
	__u32 cell = verdict->cell, *generation, *have = data, want[3];

	if (data + 12 > end)
		return 0;
	__builtin_memcpy(want, verdict->macs, sizeof(want));
	if (have[0] != want[0] || have[1] != want[1] || have[2] != want[2])
		return 0;
	/* What is longer or older may meet another check first. */
	if (seen->length > verdict->longest || seen->hop_limit < verdict->hop_limit)
		return 0;
	generation = bpf_map_lookup_elem(&cells, &cell);
	if (!generation || *(volatile __u32 *)generation != verdict->generation ||
	    (__s32)(verdict->expires - seen->clock) <= 0 || !attended(seen))
		return 0;
	seen->counts->of[COUNT_DROPPED]++;
	__sync_fetch_and_add(&verdict->packets, 1);
	return 1;
}

/* What a checksum field holds that is left to the device: the sum of the pseudo header. */
static __always_inline __u16 pseudo_sum(struct seen *seen, __be16 length)
{
	__u64 sum = (__u32)length + bpf_htons(seen->protocol);

	sum += (__u64)seen->src[0] + seen->dst[0];
	if (seen->v6)
		sum += (__u64)seen->src[1] + seen->src[2] + seen->src[3] + seen->dst[1] + seen->dst[2] + seen->dst[3];
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/* Whether the kernel's helpers would take a datagram's checksum for unfinished that is finished: they go by a mark on the
 * packet, which is about another header where the packet is a tunnel's. Such a sum is not that of its pseudo header. */
static __always_inline int finished(struct udphdr *udp, struct seen *seen)
{
	return udp->check && udp->check != pseudo_sum(seen, udp->len);
}

/* Writes a datagram's ports and checksum where they stand, for a path's new addresses (RFC 1624). */
static __always_inline void obey_finished(struct udphdr *udp, struct path *path, __be16 number, struct seen *seen)
{
	__u64 sum = (__u16)~udp->check;
	int n;

#pragma unroll
	for (n = 0; n < 4; n++) {
		if (n && !seen->v6)
			break;
		if (path->flags & PATH_WRITE_SRC)
			sum += (__u64)(__u32)~seen->src[n] + path->src[n];
		if (path->flags & PATH_WRITE_DST)
			sum += (__u64)(__u32)~seen->dst[n] + path->dst[n];
	}
	if (path->role == ROLE_SOURCE) {
		sum += (__u32)(__u16)~seen->src_port + number;
		udp->source = number;
	} else if (path->role == ROLE_DESTINATION) {
		sum += (__u32)(__u16)~seen->dst_port + number;
		udp->dest = number;
	}
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	udp->check = (__u16)~sum;
	if (!udp->check)
		udp->check = 0xffff;
}

/* Does what a path says. From here on nothing turns back: a helper that fails (no memory) drops the packet. */
static __always_inline int obey(struct __sk_buff *skb, struct path *path, __be16 number, struct seen *seen, __u32 segments)
{
	__u64 flags = BPF_F_PSEUDO_HDR;
	__u32 sum;

	switch (seen->protocol) {
	case IPPROTO_TCP:
		sum = seen->at + __builtin_offsetof(struct tcphdr, check);
		break;
	case IPPROTO_UDP:
		/* 0 means that there is none, and stays. */
		sum = seen->at + __builtin_offsetof(struct udphdr, check);
		flags |= BPF_F_MARK_MANGLED_0;
		break;
	default:
		sum = seen->at + 2;
	}
	/* ICMP of IPv4 does not sum addresses up. */
	int addresses_summed = seen->protocol != IPPROTO_ICMP;

	if (seen->protocol == IPPROTO_UDP && (path->role != ROLE_NONE || path->flags & (PATH_WRITE_SRC | PATH_WRITE_DST))) {
		/* Numbers that the verifier can follow. */
		__u32 at = ETH_HLEN + (seen->v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
		void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
		struct udphdr *udp;

		barrier_var(at);
		udp = data + at;
		if ((void *)(udp + 1) > end)
			return DROP;
		if (finished(udp, seen)) {
			obey_finished(udp, path, number, seen);
			goto network;
		}
	}

	/* First what needs the kernel's helpers, which know of unfinished checksums; then what can be written where it stands. */
	if (seen->v6) {
		if (path->flags & PATH_WRITE_SRC) {
			__s64 change = bpf_csum_diff(seen->src, 16, path->src, 16, 0);

			if (change < 0 || bpf_l4_csum_replace(skb, sum, 0, change, flags))
				return DROP;
		}
		if (path->flags & PATH_WRITE_DST) {
			__s64 change = bpf_csum_diff(seen->dst, 16, path->dst, 16, 0);

			if (change < 0 || bpf_l4_csum_replace(skb, sum, 0, change, flags))
				return DROP;
		}
	} else if (addresses_summed) {
		if (path->flags & PATH_WRITE_SRC &&
		    bpf_l4_csum_replace(skb, sum, seen->src[0], path->src[0], flags | 4))
			return DROP;
		if (path->flags & PATH_WRITE_DST &&
		    bpf_l4_csum_replace(skb, sum, seen->dst[0], path->dst[0], flags | 4))
			return DROP;
	}
	if (path->role != ROLE_NONE) {
		__be16 was = path->role == ROLE_DESTINATION ? seen->dst_port : seen->src_port;
		__u32 place = seen->at + (path->role == ROLE_SOURCE ? 0 : path->role == ROLE_DESTINATION ? 2 : 4);

		if (bpf_l4_csum_replace(skb, sum, was, number, (flags & ~(__u64)BPF_F_PSEUDO_HDR) | 2) ||
		    bpf_skb_store_bytes(skb, place, &number, 2, 0))
			return DROP;
	}

network:;
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	if (seen->v6) {
		struct ipv6hdr *header = data + ETH_HLEN;

		if ((void *)(header + 1) > end)
			return DROP;
		if (path->flags & PATH_WRITE_SRC)
			__builtin_memcpy(&header->saddr, path->src, 16);
		if (path->flags & PATH_WRITE_DST)
			__builtin_memcpy(&header->daddr, path->dst, 16);
		header->hop_limit = seen->hop_limit - path->hop_limit_decrement;
	} else {
		struct iphdr *header = data + ETH_HLEN;
		__u64 check;

		if ((void *)(header + 1) > end)
			return DROP;
		/* RFC 1624: the sum of what goes away, inverted, and of what comes. */
		check = (__u16)~header->check;
		if (path->flags & PATH_WRITE_SRC) {
			check += (__u32)~header->saddr;
			check += path->src[0];
			header->saddr = path->src[0];
		}
		if (path->flags & PATH_WRITE_DST) {
			check += (__u32)~header->daddr;
			check += path->dst[0];
			header->daddr = path->dst[0];
		}
		if (path->hop_limit_decrement) {
			__u8 left = seen->hop_limit - path->hop_limit_decrement;

			check += (__u16)~bpf_htons((__u16)seen->hop_limit << 8);
			check += bpf_htons((__u16)left << 8);
			header->ttl = left;
		}
		check = (check & 0xffff) + (check >> 16 & 0xffff) + (check >> 32);
		check = (check & 0xffff) + (check >> 16);
		check = (check & 0xffff) + (check >> 16);
		header->check = (__u16)~check;
	}
	if (path->flags & PATH_WRITE_MACS)
		__builtin_memcpy(data, path->macs_out, 12);
	seen->counts->of[path->flags & PATH_EXITS ? COUNT_EXITED : COUNT_DELIVERED] += segments;
	seen->counts->of[COUNT_BYTES] += skb->len;
	return bpf_redirect_peer(path->ifindex, 0);
}

/* A made flow, if that is what a kept answer still is about. */
static __always_inline struct made *made_as(struct flow *flow)
{
	__u32 sequence = flow->sequence, place = sequence & (MADE_PLACES - 1);
	struct made *its;

	if (!(flow->state & FLOW_MADE))
		return 0;
	its = bpf_map_lookup_elem(&made, &place);
	return its && *(volatile __u32 *)&its->sequence == sequence ? its : 0;
}

static __always_inline void words4(__be32 *to, const __be32 *from)
{
	to[0] = from[0];
	to[1] = from[1];
	to[2] = from[2];
	to[3] = from[3];
}

/* Takes away what stands of a made flow. */
static __noinline int forget(struct made *its)
{
	if (its->v6) {
		struct key6 key = {.slot = its->slot, .numbers = its->numbers, .protocol = its->protocol};

		words4(key.src, its->src);
		words4(key.dst, its->dst);
		bpf_map_delete_elem(&flows6, &key);
		key.slot = its->reply_slot;
		key.numbers = its->reply_numbers;
		words4(key.src, its->reply_src);
		words4(key.dst, its->reply_dst);
		bpf_map_delete_elem(&flows6, &key);
	} else {
		struct key4 key = {
			.slot = its->slot,
			.numbers = its->numbers,
			.src = its->src[0],
			.dst = its->dst[0],
			.protocol = its->protocol,
		};

		bpf_map_delete_elem(&flows4, &key);
		key.slot = its->reply_slot;
		key.numbers = its->reply_numbers;
		key.src = its->reply_src[0];
		key.dst = its->reply_dst[0];
		bpf_map_delete_elem(&flows4, &key);
	}
	return 0;
}

/* Ends a made flow; 0 if it is the engine's by now. */
static __always_inline int finish(struct made *its)
{
	__u32 was = __sync_fetch_and_or(&its->state, MADE_OVER);

	if (was & MADE_TAKEN)
		return 0;
	/* Another processor may have been first. */
	if (!(was & MADE_OVER))
		forget(its);
	return 1;
}

/* Whether a new connection may take the place of a made flow: its side has said FIN, and the engine has not taken it. */
static __always_inline int gives_way(struct flow *flow)
{
	__u32 said = flow->state & FLOW_BACK ? MADE_FIN_BACK : MADE_FIN;
	struct made *its = made_as(flow);

	return its && its->state & said && finish(its);
}

/* A packet whose flow is known. */
static __always_inline int known(struct __sk_buff *skb, struct flow *flow, struct seen *seen, void *data, void *end)
{
	__u32 segments = skb->gso_segs > 1 ? skb->gso_segs : 1;
	struct flow answer = *flow;
	struct made *its = 0;
	struct path path;
	int why;

	/* An entry that another processor deletes may stand for another flow at once: this one's answer has its tag. */
	asm volatile("" ::: "memory");
	if (*(volatile __u32 *)&flow->tag != seen->tag)
		return to_engine_known(seen, COUNT_STALE);
	if (seen->syn || seen->fin || seen->rst) {
		its = made_as(&answer);
		if (!its || *(volatile __u32 *)&its->state & MADE_TAKEN)
			return to_engine(seen, COUNT_CONTROL);
	}
	if ((__s32)(answer.expires - seen->clock) <= 0 ||
	    !find_path(answer.path, answer.path_version, answer.generation, &path))
		return to_engine_known(seen, COUNT_STALE);
	why = fits(&path, seen, data, end);
	if (why)
		return to_engine(seen, why);
	if (its && seen->rst) {
		/* Most that end so are over before the engine would look: it never hears of them. */
		if (!finish(its))
			return to_engine(seen, COUNT_CONTROL);
		return obey(skb, &path, answer.number, seen, segments);
	}
	if (its && seen->fin) {
		its->ended = seen->clock;
		if (__sync_fetch_and_or(&its->state, answer.state & FLOW_BACK ? MADE_FIN_BACK : MADE_FIN) & MADE_TAKEN)
			return to_engine(seen, COUNT_CONTROL);
	}
	flow->last_seen = seen->clock;
	__sync_fetch_and_add(&flow->packets, segments);
	__sync_fetch_and_add(&flow->bytes, skb->len);
	return obey(skb, &path, answer.number, seen, segments);
}

/* Whether a packet opens a connection: what a decision is about. */
static __always_inline int opens(struct seen *seen)
{
	return seen->protocol == IPPROTO_TCP ? seen->syn && !seen->ack && !seen->fin && !seen->rst
					     : seen->protocol == IPPROTO_UDP;
}

/* Makes the flows of a new connection, in both directions, by a decision. */
static __always_inline int new_connection(struct __sk_buff *skb, struct decision *decision, struct seen *seen, __be32 numbers,
					  void *data, void *end)
{
	__u16 port = bpf_ntohs(seen->src_port);
	__be32 reply_numbers = numbers << 16 | numbers >> 16;
	__u32 slot = seen->port->slot_and_one - 1, segments = skb->gso_segs > 1 ? skb->gso_segs : 1;
	struct flow flow = {}, reply = {};
	__u32 number, place;
	struct path path;
	struct made *event;
	int why, failed;

	if (port < decision->lowest || port > decision->highest || (__s32)(decision->expires - seen->clock) <= 0 ||
	    seen->port->may_make == 0 || !attended(seen))
		return to_engine(seen, COUNT_NO_FLOW);
	/* The way back has to hold too; then the way there. */
	if (!find_path(decision->reply_path, decision->reply_path_version, decision->reply_generation, &path) ||
	    !find_path(decision->path, decision->path_version, decision->generation, &path))
		return to_engine(seen, COUNT_STALE);
	why = fits(&path, seen, data, end);
	if (why)
		return to_engine(seen, why);
	if (*(volatile __u32 *)&seen->time->made - *(volatile __u32 *)&seen->time->freed >= MADE_PLACES - MADE_SPARE)
		return to_engine(seen, COUNT_NO_FLOW);
	number = __sync_fetch_and_add(&seen->time->made, 1);
	place = number & (MADE_PLACES - 1);
	event = bpf_map_lookup_elem(&made, &place);
	if (!event)
		return to_engine(seen, COUNT_NO_FLOW); /* never: there are as many places */
	/* Whoever still looks for the one that stood here finds neither it nor this one. */
	__sync_lock_test_and_set(&event->sequence, ~number);

	flow.tag = seen->tag;
	flow.path = decision->path;
	flow.path_version = decision->path_version;
	flow.generation = decision->generation;
	flow.expires = seen->clock + decision->hold;
	flow.state = FLOW_MADE;
	flow.sequence = number;
	flow.last_seen = seen->clock;
	flow.packets = segments;
	flow.bytes = skb->len;
	reply.path = decision->reply_path;
	reply.path_version = decision->reply_path_version;
	reply.generation = decision->reply_generation;
	reply.expires = flow.expires;
	reply.state = FLOW_MADE | FLOW_BACK;
	reply.sequence = number;
	reply.last_seen = seen->clock;

	event->since = seen->clock;
	event->v6 = seen->v6;
	event->protocol = seen->protocol;
	event->slot = slot;
	event->numbers = numbers;
	words4(event->src, seen->src);
	words4(event->dst, seen->dst);
	event->reply_slot = decision->reply_slot;
	event->reply_numbers = reply_numbers;
	words4(event->reply_src, decision->reply_src);
	words4(event->reply_dst, decision->reply_dst);
	event->path = decision->path;
	event->path_version = decision->path_version;
	event->reply_path = decision->reply_path;
	event->reply_path_version = decision->reply_path_version;

	if (seen->v6) {
		struct key6 there = {.slot = slot, .numbers = numbers, .protocol = seen->protocol};
		struct key6 back = {.slot = decision->reply_slot, .numbers = reply_numbers, .protocol = seen->protocol};

		words4(there.src, seen->src);
		words4(there.dst, seen->dst);
		words4(back.src, decision->reply_src);
		words4(back.dst, decision->reply_dst);
		reply.tag = tag6(&back);
		failed = bpf_map_update_elem(&flows6, &back, &reply, BPF_ANY) ||
			 bpf_map_update_elem(&flows6, &there, &flow, BPF_ANY);
	} else {
		struct key4 there = {
			.slot = slot,
			.numbers = numbers,
			.src = seen->src[0],
			.dst = seen->dst[0],
			.protocol = seen->protocol,
		};
		struct key4 back = {
			.slot = decision->reply_slot,
			.numbers = reply_numbers,
			.src = decision->reply_src[0],
			.dst = decision->reply_dst[0],
			.protocol = seen->protocol,
		};

		reply.tag = tag4(&back);
		failed = bpf_map_update_elem(&flows4, &back, &reply, BPF_ANY) ||
			 bpf_map_update_elem(&flows4, &there, &flow, BPF_ANY);
	}
	/* Full: the half that may be there goes. */
	if (failed)
		forget(event);
	event->state = failed ? MADE_OVER : 0;
	/* The engine looks by itself, often enough: waking it would cost more than the rest of this. */
	__sync_lock_test_and_set(&event->sequence, number);
	if (failed)
		return to_engine(seen, COUNT_NO_FLOW);
	seen->port->may_make--; /* about: two processors may count one */
	seen->counts->of[COUNT_MADE]++;
	return obey(skb, &path, 0, seen, segments);
}

SEC("classifier")
int port_ingress(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u32 ifindex = skb->ifindex, zero = 0, slot;
	struct ethhdr *ethernet = data;
	struct decision *decision = 0;
	struct verdict *verdict = 0;
	struct seen seen = {};
	struct flow *flow;
	__be32 numbers;
	int why = 0;

	if ((void *)(ethernet + 1) > end)
		return TO_ENGINE;
	if (ethernet->h_proto != bpf_htons(ETH_P_IP) && ethernet->h_proto != bpf_htons(ETH_P_IPV6))
		return TO_ENGINE;
	seen.port = bpf_map_lookup_elem(&ports, &ifindex);
	seen.counts = bpf_map_lookup_elem(&counts, &zero);
	seen.time = bpf_map_lookup_elem(&now, &zero);
	if (!seen.port || !seen.port->slot_and_one || !seen.counts || !seen.time)
		return TO_ENGINE;
	slot = seen.port->slot_and_one - 1;
	seen.clock = *(volatile __u32 *)&seen.time->now;
	if (skb->vlan_present)
		return to_engine(&seen, COUNT_ODD);

	if (ethernet->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(ethernet + 1);
		struct key4 key = {.slot = slot};
		__u32 *words = (void *)ip;
		__u64 sum;

		if ((void *)(ip + 1) > end)
			return to_engine(&seen, COUNT_ODD);
		seen.length = bpf_ntohs(ip->tot_len);
		if (ip->version != 4 || ip->ihl != 5 || ip->frag_off & bpf_htons(0x3fff) ||
		    seen.length + ETH_HLEN != skb->len || seen.length < sizeof(*ip))
			return to_engine(&seen, COUNT_ODD);
		/* The engine refuses a wrong header checksum; so does this. */
		sum = (__u64)words[0] + words[1] + words[2] + words[3] + words[4];
		sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
		sum = (sum & 0xffff) + (sum >> 16);
		if (((sum & 0xffff) + (sum >> 16)) != 0xffff)
			return to_engine(&seen, COUNT_ODD);
		seen.at = ETH_HLEN + sizeof(*ip);
		seen.protocol = ip->protocol;
		seen.hop_limit = ip->ttl;
		seen.src[0] = ip->saddr;
		seen.dst[0] = ip->daddr;
		transport(skb, ip + 1, end, seen.length - sizeof(*ip), &seen, &why);
		if (why)
			return to_engine(&seen, why);
		numbers = (__be32)seen.src_port | (__be32)seen.dst_port << 16;
		key.numbers = numbers;
		key.src = seen.src[0];
		key.dst = seen.dst[0];
		key.protocol = seen.protocol;
		seen.tag = tag4(&key);
		flow = bpf_map_lookup_elem(&flows4, &key);
		if (!flow && !seen.syn && !seen.fin && !seen.rst) {
			verdict = bpf_map_lookup_elem(&drops4, &key);
			if (verdict && ends_here(verdict, &seen, data, end))
				return DROP;
		}
		if (opens(&seen) && (!flow || gives_way(flow))) {
			flow = 0;
			struct ask4 ask = {
				.slot = slot,
				.src = seen.src[0],
				.dst = seen.dst[0],
				.dst_port = seen.dst_port,
				.protocol = seen.protocol,
			};

			decision = bpf_map_lookup_elem(&decisions4, &ask);
		}
	} else {
		struct ipv6hdr *ip = (void *)(ethernet + 1);
		struct key6 key = {.slot = slot};

		if ((void *)(ip + 1) > end)
			return to_engine(&seen, COUNT_ODD);
		seen.length = bpf_ntohs(ip->payload_len) + sizeof(*ip);
		if (ip->version != 6 || seen.length + ETH_HLEN != skb->len)
			return to_engine(&seen, COUNT_ODD);
		seen.v6 = 1;
		seen.at = ETH_HLEN + sizeof(*ip);
		seen.protocol = ip->nexthdr;
		seen.hop_limit = ip->hop_limit;
		__builtin_memcpy(seen.src, &ip->saddr, 16);
		__builtin_memcpy(seen.dst, &ip->daddr, 16);
		transport(skb, ip + 1, end, seen.length - sizeof(*ip), &seen, &why);
		if (why)
			return to_engine(&seen, why);
		numbers = (__be32)seen.src_port | (__be32)seen.dst_port << 16;
		key.numbers = numbers;
		words4(key.src, seen.src);
		words4(key.dst, seen.dst);
		key.protocol = seen.protocol;
		seen.tag = tag6(&key);
		flow = bpf_map_lookup_elem(&flows6, &key);
		if (!flow && !seen.syn && !seen.fin && !seen.rst) {
			verdict = bpf_map_lookup_elem(&drops6, &key);
			if (verdict && ends_here(verdict, &seen, data, end))
				return DROP;
		}
		if (opens(&seen) && (!flow || gives_way(flow))) {
			flow = 0;
			struct ask6 ask = {.slot = slot, .dst_port = seen.dst_port, .protocol = seen.protocol};

			words4(ask.src, seen.src);
			words4(ask.dst, seen.dst);
			decision = bpf_map_lookup_elem(&decisions6, &ask);
		}
	}
	if (decision)
		return new_connection(skb, decision, &seen, numbers, data, end);
	if (!flow)
		return to_engine(&seen, seen.syn || seen.fin || seen.rst ? COUNT_CONTROL : COUNT_NO_FLOW);
	/* One that opens a connection again on what was not seen to end is the engine's. */
	if (seen.syn && !seen.ack)
		return to_engine(&seen, COUNT_CONTROL);
	return known(skb, flow, &seen, data, end);
}

/* None of the helpers above wants the GPL. */
char _license[] SEC("license") = "Apache-2.0";
