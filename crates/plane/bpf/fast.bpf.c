// SPDX-License-Identifier: Apache-2.0
//
// The kept answers of the engine, obeyed in the kernel: at tcx ingress of every port's host end. There are no rules
// in here: a packet whose flow is not known, or is anything but plain, goes on to the packet socket behind and so to the
// engine, which walks it. See docs/decisions/0007.

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

/* By interface index: the port's slot + 1 in 64 bits; 0 is none. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} ports SEC(".maps");

/* The engine's clock in milliseconds, wrapping. It stands still while there is no engine: what is known then goes on. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u32);
} now SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTS);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

static __always_inline void count(__u32 what, __u64 by)
{
	__u64 *place = bpf_map_lookup_elem(&counts, &what);

	if (place)
		*place += by;
}

static __always_inline int to_engine(__u32 why)
{
	count(why, 1);
	return TO_ENGINE;
}

/* What was read of a packet. */
struct seen {
	__u32 at;      /* where the transport header begins */
	__u32 length;  /* bytes of the longest IP packet that it stands for on the wire */
	__u8 protocol;
	__u8 hop_limit;
	__u8 v6;
	__be16 src_port; /* or ICMP's identifier */
	__be16 dst_port;
	__be32 src[4];
	__be32 dst[4];
};

/* Reads the transport header at `l4`, which is `rest` bytes long with its payload. Returns the key's numbers, or sets *why. */
static __always_inline __be32 transport(struct __sk_buff *skb, void *l4, void *end, __u32 rest, struct seen *seen, int *why)
{
	__u32 header;

	switch (seen->protocol) {
	case IPPROTO_TCP: {
		struct tcphdr *tcp = l4;

		if ((void *)(tcp + 1) > end)
			goto odd;
		if (tcp->syn || tcp->fin || tcp->rst) {
			*why = COUNT_CONTROL;
			return 0;
		}
		header = tcp->doff * 4;
		if (header < sizeof(*tcp) || header > rest)
			goto odd;
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
			return 0;
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
	return (__be32)seen->src_port | (__be32)seen->dst_port << 16;
odd:
	*why = COUNT_ODD;
	return 0;
}

/* Does what a path says; the packet has been read and nothing of it has been written. */
static __always_inline int obey(struct __sk_buff *skb, struct flow *flow, struct seen *seen, void *data, void *end)
{
	__u32 number = flow->path, clock = 0, *time, *generation, version, cell;
	struct path *shared = bpf_map_lookup_elem(&paths, &number);
	struct path path;

	if (!shared)
		return to_engine(COUNT_STALE);
	/* The engine may be writing another path into this place: what is read counts if the version stayed. */
	version = *(volatile __u32 *)&shared->version;
	asm volatile("" ::: "memory");
	__builtin_memcpy(&path, shared, sizeof(path));
	asm volatile("" ::: "memory");
	if (version != *(volatile __u32 *)&shared->version || version != flow->path_version)
		return to_engine(COUNT_STALE);
	cell = path.cell;
	generation = bpf_map_lookup_elem(&cells, &cell);
	time = bpf_map_lookup_elem(&now, &clock);
	if (!generation || !time)
		return to_engine(COUNT_STALE);
	clock = *(volatile __u32 *)time;
	if (*(volatile __u32 *)generation != flow->generation || (__s32)(flow->expires - clock) <= 0)
		return to_engine(COUNT_STALE);

	if (path.flags & PATH_CHECK_MACS) {
		__u32 *have = data, want[3];

		if (data + 12 > end)
			return to_engine(COUNT_ODD);
		__builtin_memcpy(want, path.macs_in, sizeof(want));
		if (have[0] != want[0] || have[1] != want[1] || have[2] != want[2])
			return to_engine(COUNT_MAC);
	}
	if (seen->hop_limit <= path.hop_limit_decrement)
		return to_engine(COUNT_HOP_LIMIT);
	if (seen->length > path.mtu)
		return to_engine(COUNT_TOO_BIG);

	/* From here on the packet is written, and nothing may turn back. A helper that fails (no memory) drops it. */
	__u32 sum;
	__u64 flags = BPF_F_PSEUDO_HDR;

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
	const __u32 ip = ETH_HLEN;

	if (seen->v6) {
		if (path.flags & PATH_WRITE_SRC) {
			__s64 change = bpf_csum_diff(seen->src, 16, path.src, 16, 0);

			if (change < 0 || bpf_l4_csum_replace(skb, sum, 0, change, flags) ||
			    bpf_skb_store_bytes(skb, ip + __builtin_offsetof(struct ipv6hdr, saddr), path.src, 16, 0))
				return DROP;
		}
		if (path.flags & PATH_WRITE_DST) {
			__s64 change = bpf_csum_diff(seen->dst, 16, path.dst, 16, 0);

			if (change < 0 || bpf_l4_csum_replace(skb, sum, 0, change, flags) ||
			    bpf_skb_store_bytes(skb, ip + __builtin_offsetof(struct ipv6hdr, daddr), path.dst, 16, 0))
				return DROP;
		}
		if (path.hop_limit_decrement) {
			__u8 left = seen->hop_limit - path.hop_limit_decrement;

			if (bpf_skb_store_bytes(skb, ip + __builtin_offsetof(struct ipv6hdr, hop_limit), &left, 1, 0))
				return DROP;
		}
	} else {
		const __u32 header_sum = ip + __builtin_offsetof(struct iphdr, check);

		if (path.flags & PATH_WRITE_SRC) {
			if (addresses_summed && bpf_l4_csum_replace(skb, sum, seen->src[0], path.src[0], flags | 4))
				return DROP;
			if (bpf_l3_csum_replace(skb, header_sum, seen->src[0], path.src[0], 4) ||
			    bpf_skb_store_bytes(skb, ip + __builtin_offsetof(struct iphdr, saddr), path.src, 4, 0))
				return DROP;
		}
		if (path.flags & PATH_WRITE_DST) {
			if (addresses_summed && bpf_l4_csum_replace(skb, sum, seen->dst[0], path.dst[0], flags | 4))
				return DROP;
			if (bpf_l3_csum_replace(skb, header_sum, seen->dst[0], path.dst[0], 4) ||
			    bpf_skb_store_bytes(skb, ip + __builtin_offsetof(struct iphdr, daddr), path.dst, 4, 0))
				return DROP;
		}
		if (path.hop_limit_decrement) {
			__u8 left = seen->hop_limit - path.hop_limit_decrement;
			__be16 was = bpf_htons((__u16)seen->hop_limit << 8 | seen->protocol);
			__be16 is = bpf_htons((__u16)left << 8 | seen->protocol);

			if (bpf_l3_csum_replace(skb, header_sum, was, is, 2) ||
			    bpf_skb_store_bytes(skb, ip + __builtin_offsetof(struct iphdr, ttl), &left, 1, 0))
				return DROP;
		}
	}
	if (path.role != ROLE_NONE) {
		__be16 is = flow->number, was = path.role == ROLE_DESTINATION ? seen->dst_port : seen->src_port;
		__u32 place = seen->at + (path.role == ROLE_SOURCE ? 0 : path.role == ROLE_DESTINATION ? 2 : 4);

		if (bpf_l4_csum_replace(skb, sum, was, is, (flags & ~(__u64)BPF_F_PSEUDO_HDR) | 2) ||
		    bpf_skb_store_bytes(skb, place, &is, 2, 0))
			return DROP;
	}
	if (path.flags & PATH_WRITE_MACS) {
		if (bpf_skb_store_bytes(skb, 0, path.macs_out, 12, 0))
			return DROP;
	}

	__u32 segments = skb->gso_segs > 1 ? skb->gso_segs : 1;

	flow->last_seen = clock;
	__sync_fetch_and_add(&flow->packets, segments);
	__sync_fetch_and_add(&flow->bytes, skb->len);
	count(path.flags & PATH_EXITS ? COUNT_EXITED : COUNT_DELIVERED, segments);
	count(COUNT_BYTES, skb->len);
	return bpf_redirect_peer(path.ifindex, 0);
}

SEC("classifier")
int port_ingress(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u32 ifindex = skb->ifindex;
	struct ethhdr *ethernet = data;
	struct seen seen = {};
	struct flow *flow;
	int why = 0;
	__u64 *slot;

	if ((void *)(ethernet + 1) > end)
		return TO_ENGINE;
	if (ethernet->h_proto != bpf_htons(ETH_P_IP) && ethernet->h_proto != bpf_htons(ETH_P_IPV6))
		return TO_ENGINE;
	slot = bpf_map_lookup_elem(&ports, &ifindex);
	if (!slot || !*slot)
		return TO_ENGINE;
	if (skb->vlan_present)
		return to_engine(COUNT_ODD);

	if (ethernet->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(ethernet + 1);
		struct key4 key = {.slot = *slot - 1};
		__u32 sum;

		if ((void *)(ip + 1) > end)
			return to_engine(COUNT_ODD);
		seen.length = bpf_ntohs(ip->tot_len);
		if (ip->version != 4 || ip->ihl != 5 || ip->frag_off & bpf_htons(0x3fff) ||
		    seen.length + ETH_HLEN != skb->len || seen.length < sizeof(*ip))
			return to_engine(COUNT_ODD);
		/* The engine refuses a wrong header checksum; so does this. */
		sum = bpf_csum_diff(0, 0, (void *)ip, sizeof(*ip), 0);
		sum = (sum & 0xffff) + (sum >> 16);
		sum = (sum & 0xffff) + (sum >> 16);
		if (sum != 0xffff)
			return to_engine(COUNT_ODD);
		seen.at = ETH_HLEN + sizeof(*ip);
		seen.protocol = ip->protocol;
		seen.hop_limit = ip->ttl;
		seen.src[0] = ip->saddr;
		seen.dst[0] = ip->daddr;
		key.numbers = transport(skb, ip + 1, end, seen.length - sizeof(*ip), &seen, &why);
		if (why)
			return to_engine(why);
		key.src = ip->saddr;
		key.dst = ip->daddr;
		key.protocol = ip->protocol;
		flow = bpf_map_lookup_elem(&flows4, &key);
	} else {
		struct ipv6hdr *ip = (void *)(ethernet + 1);
		struct key6 key = {.slot = *slot - 1};

		if ((void *)(ip + 1) > end)
			return to_engine(COUNT_ODD);
		seen.length = bpf_ntohs(ip->payload_len) + sizeof(*ip);
		if (ip->version != 6 || seen.length + ETH_HLEN != skb->len)
			return to_engine(COUNT_ODD);
		seen.v6 = 1;
		seen.at = ETH_HLEN + sizeof(*ip);
		seen.protocol = ip->nexthdr;
		seen.hop_limit = ip->hop_limit;
		__builtin_memcpy(seen.src, &ip->saddr, 16);
		__builtin_memcpy(seen.dst, &ip->daddr, 16);
		key.numbers = transport(skb, ip + 1, end, seen.length - sizeof(*ip), &seen, &why);
		if (why)
			return to_engine(why);
		__builtin_memcpy(key.src, seen.src, 16);
		__builtin_memcpy(key.dst, seen.dst, 16);
		key.protocol = ip->nexthdr;
		flow = bpf_map_lookup_elem(&flows6, &key);
	}
	if (!flow)
		return to_engine(COUNT_NO_FLOW);
	return obey(skb, flow, &seen, data, end);
}

/* None of the helpers above wants the GPL. */
char _license[] SEC("license") = "Apache-2.0";
