/* SPDX-License-Identifier: Apache-2.0
 *
 * What is read of a packet.
 */
#ifndef ATOLL_PACKET_H
#define ATOLL_PACKET_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "layout.h"

/* What tcx takes from a program (Debian 12's kernel headers are older than tcx). */
#define TO_ENGINE -1 /* left to whoever comes next: the packet socket */
#define PASS 0       /* the same, but that no other program is asked */
#define DROP 2

/* The most packets that one may stand for: src/vnet.rs has the same, and says why. */
#define MOST_SEGMENTS 1024

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
	__u8 of_known; /* where the engine gets it: its flow was known */
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

/* Of what a decision about a packet is about. */
static __always_inline __u32 tag_of_asked(struct seen *seen, __u8 block)
{
	return (seen->port->slot_and_one - 1) ^ seen->src[0] ^ seen->src[1] ^ seen->src[2] ^ seen->src[3] ^ seen->dst[0] ^
	       seen->dst[1] ^ seen->dst[2] ^ seen->dst[3] ^ (__u32)seen->dst_port << 16 ^ (__u32)seen->protocol << 8 ^ block;
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
		if (rest - header > MOST_SEGMENTS * skb->gso_size)
			goto odd;
		__u32 segment = seen->at - ETH_HLEN + header + skb->gso_size;

		if (segment < seen->length)
			seen->length = segment;
	}
	return;
odd:
	*why = COUNT_ODD;
}

#endif
