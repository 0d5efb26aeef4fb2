/* SPDX-License-Identifier: Apache-2.0
 *
 * Packets rewritten and sent as a path says.
 */
#ifndef ATOLL_OBEY_H
#define ATOLL_OBEY_H

#include <linux/ip.h>
#include <linux/ipv6.h>

#include "packet.h"
#include "wire.h"

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

/* 32 bits of a sum. */
static __always_inline __u32 folded_once(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	return (sum & 0xffffffff) + (sum >> 32);
}

/* 16 bits of a sum. */
static __always_inline __u16 folded(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/* What a path's new addresses add to a sum: what goes away, inverted, and what comes (RFC 1624). */
static __always_inline __u64 change_of_addresses(struct path *path, struct seen *seen)
{
	__u64 sum = 0;
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
	return sum;
}

/* The same of its new port. */
static __always_inline __u64 change_of_port(struct path *path, __be16 number, struct seen *seen)
{
	if (path->role == ROLE_SOURCE)
		return (__u32)(__u16)~seen->src_port + number;
	if (path->role == ROLE_DESTINATION)
		return (__u32)(__u16)~seen->dst_port + number;
	return 0;
}

/* Writes a datagram's ports and checksum where they stand, for a path's new addresses. */
static __always_inline void obey_finished(struct udphdr *udp, struct path *path, __be16 number, struct seen *seen)
{
	__u64 sum = (__u16)~udp->check + change_of_addresses(path, seen) + change_of_port(path, number, seen);

	if (path->role == ROLE_SOURCE)
		udp->source = number;
	else if (path->role == ROLE_DESTINATION)
		udp->dest = number;
	udp->check = (__u16)~folded(sum);
	if (!udp->check)
		udp->check = 0xffff;
}

/* Writes a segment's port and checksum, at `at` in the packet; 0 if that fails. Whether the checksum is finished or left to the
 * device, the packet mostly tells by itself. Where it does not, the kernel's helper changes it for the new addresses, and the
 * outcome tells. */
static __always_inline int obey_tcp(struct __sk_buff *skb, __u32 at, struct path *path, __be16 number, struct seen *seen)
{
	__u64 addresses = change_of_addresses(path, seen), port = change_of_port(path, number, seen);
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct tcphdr *tcp = data + at;
	__u16 was, left;

	if ((void *)(tcp + 1) > end)
		return 0;
	was = tcp->check;
	left = folded(was + addresses);
	if (skb->gso_size) {
		/* Many segments, each of which gets its checksum later. */
		tcp->check = left;
	} else if (was != pseudo_sum(seen, bpf_htons(skb->len - seen->at))) {
		tcp->check = (__u16)~folded((__u16)~was + addresses + port);
	} else {
		__u32 sum = seen->at + __builtin_offsetof(struct tcphdr, check);

		if (bpf_l4_csum_replace(skb, sum, 0, folded_once(addresses), BPF_F_PSEUDO_HDR))
			return 0;
		if (path->role == ROLE_NONE)
			return 1;
		/* Addresses with the same sum: then the outcome does not tell. */
		if (left == was) {
			__be16 old = path->role == ROLE_SOURCE ? seen->src_port : seen->dst_port;

			if (bpf_l4_csum_replace(skb, sum, old, number, 2))
				return 0;
		}
		data = (void *)(long)skb->data;
		end = (void *)(long)skb->data_end;
		tcp = data + at;
		if ((void *)(tcp + 1) > end)
			return 0;
		if (left != was && tcp->check != left)
			tcp->check = (__u16)~folded((__u16)~tcp->check + port);
	}
	if (path->role == ROLE_SOURCE)
		tcp->source = number;
	else if (path->role == ROLE_DESTINATION)
		tcp->dest = number;
	return 1;
}

/* Does what a path says. From here on nothing turns back: a helper that fails (no memory) drops the packet. */
static __always_inline int obey(struct __sk_buff *skb, struct path *path, __be16 number, struct seen *seen, __u32 segments)
{
	__u64 flags = BPF_F_PSEUDO_HDR;
	__u32 sum;

	switch (seen->protocol) {
	case IPPROTO_UDP:
		/* 0 means that there is none, and stays. */
		sum = seen->at + __builtin_offsetof(struct udphdr, check);
		flags |= BPF_F_MARK_MANGLED_0;
		break;
	case IPPROTO_TCP:
		sum = seen->at + __builtin_offsetof(struct tcphdr, check);
		break;
	default:
		sum = seen->at + 2;
	}
	/* ICMP of IPv4 does not sum addresses up. */
	int addresses_summed = seen->protocol != IPPROTO_ICMP;

	if (path->role == ROLE_NONE && !(path->flags & (PATH_WRITE_SRC | PATH_WRITE_DST)))
		goto network;
	/* Numbers that the verifier can follow. */
	__u32 at = ETH_HLEN + (seen->v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));

	barrier_var(at);
	if (seen->protocol == IPPROTO_TCP) {
		if (!obey_tcp(skb, at, path, number, seen))
			return DROP;
		goto network;
	}
	if (seen->protocol == IPPROTO_UDP) {
		void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
		struct udphdr *udp = data + at;

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
	seen->counts->of[COUNT_BYTES] += skb->len;
	if (path->flags & PATH_TUNNEL) {
		/* Where it is delivered it is counted as such. */
		seen->counts->of[COUNT_ELSEWHERE] += segments;
		return send_elsewhere(skb, path->ifindex, path->version, sum);
	}
	seen->counts->of[path->flags & PATH_EXITS ? COUNT_EXITED : COUNT_DELIVERED] += segments;
	if (path->flags & PATH_REDIRECT)
		return bpf_redirect(path->ifindex, 0);
	return bpf_redirect_peer(path->ifindex, 0);
}

#endif
