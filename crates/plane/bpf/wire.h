/* SPDX-License-Identifier: Apache-2.0
 *
 * What is around frames between hosts: written and read here alone. Behind VXLAN's header the 16 bits of the group policy
 * extension carry the tag, which is never 0.
 */
#ifndef ATOLL_WIRE_H
#define ATOLL_WIRE_H

#include <asm/errno.h>

#include "tables.h"

/* What the kernel's helpers read and write. In a map, since a program's stack has no room for it. */
struct around {
	struct bpf_tunnel_key key;
	__u32 policy; /* `struct vxlan_metadata` of the kernel */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct around);
} scratch SEC(".maps");

/* Says what is to be around a frame when it leaves by the VXLAN device. */
static __always_inline void surround(struct around *around, const __be32 *host, const __be32 *own_address, __u32 network,
				     __u16 tag, int v6)
{
	__builtin_memset(around, 0, sizeof(*around));
	around->key.tunnel_id = network;
	around->key.tunnel_ttl = 64;
	around->policy = tag;
	if (v6) {
		__builtin_memcpy(around->key.remote_ipv6, host, 16);
		__builtin_memcpy(around->key.local_ipv6, own_address, 16);
	} else {
		around->key.remote_ipv4 = bpf_ntohl(host[0]);
		around->key.local_ipv4 = bpf_ntohl(own_address[0]);
	}
}

/* Puts it there; 0 if that fails. IPv4 lets UDP go without a sum; the inner packets have theirs. */
static __always_inline int put_around(struct __sk_buff *skb, struct around *around, int v6)
{
	__u64 flags = v6 ? BPF_F_TUNINFO_IPV6 : BPF_F_ZERO_CSUM_TX;

	return !bpf_skb_set_tunnel_key(skb, &around->key, sizeof(around->key), flags) &&
	       !bpf_skb_set_tunnel_opt(skb, &around->policy, sizeof(around->policy));
}

/* Whether a checksum that is left to the device is not to be written before its own field, which begins at `field`: over ports or
 * addresses, say. Its sender names the place, and the kernel writes there when the packet leaves for the other host. Where it
 * is no program may read, but two helpers tell: the one that changes sums leaves an unfinished one alone where it is not
 * told that addresses change, and the other refuses to cut a packet off before that place. */
static __always_inline int finished_in_place(struct __sk_buff *skb, __u32 field)
{
	__be16 was, is;

	if (bpf_skb_load_bytes(skb, field, &was, sizeof(was)) || bpf_l4_csum_replace(skb, field, 0, bpf_htons(1), sizeof(was)) ||
	    bpf_skb_load_bytes(skb, field, &is, sizeof(is)))
		return 0;
	if (is != was)
		return !bpf_skb_store_bytes(skb, field, &was, sizeof(was), 0);
	/* Where it does not refuse, the packet is cut off, and no good any more. */
	return bpf_skb_change_tail(skb, field + 1, 0) == -EINVAL;
}

/* Sends a packet, whose checksum is at `field`, to another host as its path says. Apart, so that others need no room for it. */
static __noinline int send_elsewhere(struct __sk_buff *skb, __u32 place, __u32 version, __u32 field)
{
	struct tunnel *tunnel = bpf_map_lookup_elem(&tunnels, &place);
	struct around *around;
	__u32 ifindex;

	place = 0;
	around = bpf_map_lookup_elem(&scratch, &place);
	/* The engine may be writing another one into this place. */
	if (!tunnel || !around || *(volatile __u32 *)&tunnel->version != version)
		return DROP;
	asm volatile("" ::: "memory");
	surround(around, tunnel->host, tunnel->own, tunnel->network, tunnel->tag, tunnel->v6);
	ifindex = tunnel->ifindex;
	asm volatile("" ::: "memory");
	if (*(volatile __u32 *)&tunnel->version != version || !put_around(skb, around, tunnel->v6) ||
	    !finished_in_place(skb, field))
		return DROP;
	return bpf_redirect(ifindex, 0);
}

/* What is around a frame that came from another host; 0 if it is none. */
static __always_inline int read_label(struct __sk_buff *skb, struct label *label)
{
	__u32 zero = 0;
	struct around *around = bpf_map_lookup_elem(&scratch, &zero);

	if (!around)
		return 0;
	if (!bpf_skb_get_tunnel_key(skb, &around->key, sizeof(around->key), 0)) {
		label->host[0] = bpf_htonl(around->key.remote_ipv4);
	} else if (!bpf_skb_get_tunnel_key(skb, &around->key, sizeof(around->key), BPF_F_TUNINFO_IPV6)) {
		__builtin_memcpy(label->host, around->key.remote_ipv6, 16);
		label->v6 = 1;
	} else {
		return 0;
	}
	label->network = around->key.tunnel_id;
	if (bpf_skb_get_tunnel_opt(skb, &around->policy, sizeof(around->policy)) < 0)
		return 0;
	label->tag = around->policy;
	return 1;
}

/* How the label is put in and taken out: as bytes behind the MAC header, whatever the packet stands for. */
#define LABEL_FLAGS (BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_NO_CSUM_RESET)

#endif
