// The floor: what any eBPF data plane between two veth pairs costs at least. A five-tuple lookup, counters, and
// redirect_peer to the other port; no rules, no NAT, no TCP state, no change of the packet. PORT_0 and PORT_1 are the
// interface indexes of the two host ends, given when it is compiled.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct key {
	__u32 source, destination;
	__u16 source_port, destination_port;
	__u32 protocol;
};

struct flow {
	__u64 packets, bytes, seen;
	__u32 output;
	__u32 padding;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 262144);
	__type(key, struct key);
	__type(value, struct flow);
} flows SEC(".maps");

static __always_inline __u32 other(__u32 port)
{
	return port == PORT_0 ? PORT_1 : PORT_0;
}

SEC("tc")
int floor_ingress(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ethhdr *ethernet = data;
	struct iphdr *ip = (void *)(ethernet + 1);
	struct key key = {};

	if ((void *)(ethernet + 1) > end)
		return TC_ACT_SHOT;
	// ARP crosses as it is: the ends are each other's neighbours.
	if (ethernet->h_proto != bpf_htons(ETH_P_IP) || (void *)(ip + 1) > end)
		return bpf_redirect_peer(other(skb->ifindex), 0);
	key.source = ip->saddr;
	key.destination = ip->daddr;
	key.protocol = ip->protocol;
	if (ip->protocol == IPPROTO_TCP || ip->protocol == IPPROTO_UDP) {
		__u16 *ports = (void *)(ip + 1);

		if ((void *)(ports + 2) > end)
			return TC_ACT_SHOT;
		key.source_port = ports[0];
		key.destination_port = ports[1];
	}

	struct flow *flow = bpf_map_lookup_elem(&flows, &key);
	if (flow) {
		flow->packets++;
		flow->bytes += skb->len;
		flow->seen = bpf_ktime_get_ns();
		return bpf_redirect_peer(flow->output, 0);
	}

	struct flow there = { .packets = 1, .bytes = skb->len, .seen = bpf_ktime_get_ns(), .output = other(skb->ifindex) };
	bpf_map_update_elem(&flows, &key, &there, BPF_ANY);
	struct key back_key = {
		.source = key.destination,
		.destination = key.source,
		.source_port = key.destination_port,
		.destination_port = key.source_port,
		.protocol = key.protocol,
	};
	struct flow back = { .seen = there.seen, .output = skb->ifindex };
	bpf_map_update_elem(&flows, &back_key, &back, BPF_NOEXIST);
	return bpf_redirect_peer(there.output, 0);
}

char licence[] SEC("license") = "GPL";
