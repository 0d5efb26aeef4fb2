// SPDX-License-Identifier: Apache-2.0
//
// The kept answers of the engine, obeyed in the kernel: at tcx ingress of every port's host end. There are no rules
// in here: a packet whose flow is not known, or is anything but plain, goes on to the packet socket behind and so to the
// engine, which walks it. See docs/decisions/0009.

#include "layout.h"
#include "layout_assert.h" /* made by the build */
#include "obey.h"
#include "packet.h"
#include "renew.h"
#include "tables.h"

/* Whether there is an engine. What it would have to hear of is not done without it. */
static __always_inline int attended(struct seen *seen)
{
	__u32 here = bpf_ktime_get_coarse_ns() / 1000000;

	return here - *(volatile __u32 *)&seen->time->alive < GONE;
}

/* A packet of a flow that is known: the engine takes it. */
static __always_inline int to_engine_known(struct seen *seen, __u32 why)
{
	seen->of_known = 1;
	seen->counts->of[why]++;
	return TO_ENGINE;
}

/* Any other: the engine takes so many of a port where it has more to do than it can. */
static __always_inline int may_come(struct seen *seen)
{
	__u32 may_come = *(volatile __u32 *)&seen->port->may_come;

	if (may_come > 1) {
		seen->port->may_come = may_come - 1; /* about: two processors may count one */
	} else if (may_come == 1 && attended(seen)) {
		__sync_fetch_and_add(&seen->port->refused, 1);
		seen->counts->of[COUNT_REFUSED]++;
		return 0;
	}
	return 1;
}

static __always_inline int to_engine(struct seen *seen, __u32 why)
{
	if (!may_come(seen))
		return DROP;
	seen->counts->of[why]++;
	return TO_ENGINE;
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
	/* For a reader that does not, the kernel would finish a checksum wherever the sender says that it stands, over what was
	 * judged maybe. The engine looks where that is. */
	if (path->flags & PATH_REDIRECT) {
		__u32 ifindex = path->ifindex;
		struct port *port = bpf_map_lookup_elem(&ports, &ifindex);

		if (!port || !*(volatile __u32 *)&port->sums)
			return COUNT_ODD;
	}
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

/* Notes what a segment says about the end of a made flow: FIN, or that the other's FIN has come. What is said of it by then comes
 * back. */
static __always_inline __u32 note_end(struct __sk_buff *skb, struct made *its, struct flow *flow, __u32 back, struct seen *seen,
				      void *data, void *end)
{
	__u32 at = ETH_HLEN + (seen->v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
	__u32 state = *(volatile __u32 *)&its->state, said = 0, others = back ? MADE_FIN : MADE_FIN_BACK;
	struct tcphdr *tcp;

	barrier_var(at);
	tcp = data + at;
	if ((void *)(tcp + 1) > end)
		return state; /* never: its header was read */
	if (seen->fin) {
		__u32 last = bpf_ntohl(tcp->seq) + (skb->len - seen->at - tcp->doff * 4) + 1;

		*(volatile __u32 *)(back ? &its->fin_back : &its->fin) = last;
		its->ended = seen->clock;
		flow->ends = 1;
		said = back ? MADE_FIN_BACK : MADE_FIN;
	}
	if (seen->ack && state & others && bpf_ntohl(tcp->ack_seq) == *(volatile __u32 *)(back ? &its->fin : &its->fin_back))
		said |= back ? MADE_HEARD_BACK : MADE_HEARD;
	return said ? __sync_fetch_and_or(&its->state, said) | said : state;
}

/* How many packets it stands for. Of what a virtual machine sends the kernel has not counted them. */
static __always_inline __u32 packets_of(struct __sk_buff *skb, struct seen *seen)
{
	__u32 each = skb->gso_size, whole = skb->len - ETH_HLEN;

	if (skb->gso_segs || !each)
		return skb->gso_segs > 1 ? skb->gso_segs : 1;
	/* The first has headers and data, each further one adds data. */
	return whole > seen->length ? 1 + (whole - seen->length + each - 1) / each : 1;
}

/* A packet whose flow is known. */
static __always_inline int known(struct __sk_buff *skb, struct flow *flow, struct seen *seen, void *data, void *end)
{
	__u32 segments = packets_of(skb, seen);
	struct flow answer = *flow;
	struct made *its = 0;
	struct path path;
	int why, over = 0;

	/* An entry that another processor deletes may stand for another flow at once: this one's answer has its tag. */
	asm volatile("" ::: "memory");
	if (*(volatile __u32 *)&flow->tag != seen->tag)
		return to_engine_known(seen, COUNT_STALE);
	if (seen->syn || seen->fin || seen->rst || answer.ends) {
		its = made_as(&answer);
		if (its && *(volatile __u32 *)&its->state & MADE_TAKEN)
			its = 0;
		if (!its && (seen->syn || seen->fin || seen->rst))
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
		over = 1;
	} else if (its && (seen->fin || answer.ends)) {
		__u32 said = note_end(skb, its, flow, answer.state & FLOW_BACK, seen, data, end);

		if (seen->fin && said & MADE_TAKEN)
			return to_engine(seen, COUNT_CONTROL);
		/* The last acknowledgement: what stands of it is used again at once, while it is at hand. */
		over = (said & MADE_CLOSED) == MADE_CLOSED && finish(its);
	}
	if (!over) {
		flow->last_seen = seen->clock;
		__sync_fetch_and_add(&flow->packets, segments);
		__sync_fetch_and_add(&flow->bytes, skb->len);
	}
	return obey(skb, &path, answer.number, seen, segments);
}

/* Whether a packet opens a connection: what a decision is about. */
static __always_inline int opens(struct seen *seen)
{
	return seen->protocol == IPPROTO_TCP ? seen->syn && !seen->ack && !seen->fin && !seen->rst
					     : seen->protocol == IPPROTO_UDP;
}

/* Whether a decision is the one still that it was when its end was read first, and about this. The engine may remove it
 * meanwhile, and its memory may be another one's at once: that is written from its beginning on, so it is read from its end on. */
static __always_inline int still(struct decision *decision, __u32 number, struct seen *seen)
{
	__u8 block;

	asm volatile("" ::: "memory");
	/* Where a gateway puts a block of ports for another, it is about that one alone. */
	block = *(volatile __u16 *)&decision->block ? bpf_ntohs(seen->src_port) >> 8 : 0;
	return *(volatile __u32 *)&decision->number == number && *(volatile __u32 *)&decision->tag == tag_of_asked(seen, block);
}

/* Makes the flows of a new connection, in both directions, by a decision. What it says counts if it is still there when all has
 * been read. */
static __always_inline int new_connection(struct __sk_buff *skb, struct decision *decision, struct seen *seen, __be32 numbers,
					  void *data, void *end)
{
	__u32 said = *(volatile __u32 *)&decision->again;
	__u16 port = bpf_ntohs(seen->src_port), block;
	__u32 slot = seen->port->slot_and_one - 1, segments = packets_of(skb, seen);
	struct flow flow = {}, reply = {};
	__be32 reply_numbers;
	__u32 number, place;
	struct path path;
	struct made *event;
	__be16 seen_port;
	int why, failed;

	asm volatile("" ::: "memory");
	if (port < decision->lowest || port > decision->highest || (__s32)(decision->expires - seen->clock) <= 0 ||
	    (__s32)seen->port->may_make <= 0 || !attended(seen))
		return to_engine(seen, COUNT_NO_FLOW);
	block = decision->block;
	seen_port = block ? bpf_htons(block | (port & 0xff)) : seen->src_port;
	/* What answers has the ports exchanged, as they are seen there. */
	reply_numbers = (__be32)seen->dst_port | (__be32)seen_port << 16;
	flow.tag = seen->tag;
	flow.path = decision->path;
	flow.path_version = decision->path_version;
	flow.generation = decision->generation;
	flow.expires = seen->clock + decision->hold;
	flow.number = seen_port;
	flow.state = FLOW_MADE;
	flow.last_seen = seen->clock;
	flow.packets = segments;
	flow.bytes = skb->len;
	reply.path = decision->reply_path;
	reply.path_version = decision->reply_path_version;
	reply.generation = decision->reply_generation;
	reply.expires = flow.expires;
	reply.number = seen->src_port;
	reply.state = FLOW_MADE | FLOW_BACK;
	reply.last_seen = seen->clock;
	asm volatile("" ::: "memory");
	/* The way back has to hold too; then the way there. */
	if (!find_path(reply.path, reply.path_version, reply.generation, &path) ||
	    !find_path(flow.path, flow.path_version, flow.generation, &path))
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

	flow.sequence = number;
	reply.sequence = number;
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
	event->path = flow.path;
	event->path_version = flow.path_version;
	event->reply_path = reply.path;
	event->reply_path_version = reply.path_version;
	event->decision = said;
	if (!still(decision, said, seen)) {
		event->state = MADE_OVER;
		__sync_lock_test_and_set(&event->sequence, number);
		return to_engine(seen, COUNT_STALE);
	}

	if (seen->v6) {
		struct key6 there = {.slot = slot, .numbers = numbers, .protocol = seen->protocol};
		struct key6 back = {.slot = event->reply_slot, .numbers = reply_numbers, .protocol = seen->protocol};

		words4(there.src, seen->src);
		words4(there.dst, seen->dst);
		words4(back.src, event->reply_src);
		words4(back.dst, event->reply_dst);
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
			.slot = event->reply_slot,
			.numbers = reply_numbers,
			.src = event->reply_src[0],
			.dst = event->reply_dst[0],
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
	seen->port->may_make--; /* about: two processors may count one, or below none */
	seen->counts->of[COUNT_MADE]++;
	return obey(skb, &path, seen_port, seen, segments);
}

/* A packet that came in at a slot: forwarded by what is known, or left to the engine. What came from another host
 * (`far`, known when this is compiled) is about no decision and no verdict. */
static __always_inline int carry(struct __sk_buff *skb, struct ethhdr *ethernet, void *data, void *end, __u32 slot,
				 struct seen *seen, const int far)
{
	struct decision *decision = 0;
	struct verdict *verdict = 0;
	struct flow *flow;
	__be32 numbers;
	int why = 0;

	if (ethernet->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(ethernet + 1);
		struct key4 key = {.slot = slot};
		__u32 *words = (void *)ip;
		__u64 sum;

		if ((void *)(ip + 1) > end)
			return to_engine(seen, COUNT_ODD);
		seen->length = bpf_ntohs(ip->tot_len);
		/* A super-segment that no length can say has none ("BIG TCP"). */
		if (!seen->length && skb->gso_size && ip->protocol == IPPROTO_TCP && skb->len > ETH_HLEN + 65535)
			seen->length = skb->len - ETH_HLEN;
		if (ip->version != 4 || ip->ihl != 5 || ip->frag_off & bpf_htons(0x3fff) ||
		    seen->length + ETH_HLEN != skb->len || seen->length < sizeof(*ip))
			return to_engine(seen, COUNT_ODD);
		/* The engine refuses a wrong header checksum; so does this. */
		sum = (__u64)words[0] + words[1] + words[2] + words[3] + words[4];
		sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
		sum = (sum & 0xffff) + (sum >> 16);
		if (((sum & 0xffff) + (sum >> 16)) != 0xffff)
			return to_engine(seen, COUNT_ODD);
		seen->at = ETH_HLEN + sizeof(*ip);
		seen->protocol = ip->protocol;
		seen->hop_limit = ip->ttl;
		seen->src[0] = ip->saddr;
		seen->dst[0] = ip->daddr;
		transport(skb, ip + 1, end, seen->length - sizeof(*ip), seen, &why);
		if (why)
			return to_engine(seen, why);
		numbers = (__be32)seen->src_port | (__be32)seen->dst_port << 16;
		key.numbers = numbers;
		key.src = seen->src[0];
		key.dst = seen->dst[0];
		key.protocol = seen->protocol;
		seen->tag = tag4(&key);
		flow = bpf_map_lookup_elem(&flows4, &key);
		if (!far && !flow && !seen->syn && !seen->fin && !seen->rst) {
			verdict = bpf_map_lookup_elem(&drops4, &key);
			if (verdict && ends_here(verdict, seen, data, end))
				return DROP;
		}
		if (!far && opens(seen) && (!flow || gives_way(flow))) {
			flow = 0;
			struct ask4 ask = {
				.slot = slot,
				.src = seen->src[0],
				.dst = seen->dst[0],
				.dst_port = seen->dst_port,
				.protocol = seen->protocol,
			};

			decision = bpf_map_lookup_elem(&decisions4, &ask);
			ask.block = bpf_ntohs(seen->src_port) >> 8;
			if (!decision && ask.block)
				decision = bpf_map_lookup_elem(&decisions4, &ask);
		}
	} else {
		struct ipv6hdr *ip = (void *)(ethernet + 1);
		struct key6 key = {.slot = slot};

		if ((void *)(ip + 1) > end)
			return to_engine(seen, COUNT_ODD);
		seen->length = bpf_ntohs(ip->payload_len) + sizeof(*ip);
		if (ip->version != 6 || seen->length + ETH_HLEN != skb->len)
			return to_engine(seen, COUNT_ODD);
		seen->v6 = 1;
		seen->at = ETH_HLEN + sizeof(*ip);
		seen->protocol = ip->nexthdr;
		seen->hop_limit = ip->hop_limit;
		__builtin_memcpy(seen->src, &ip->saddr, 16);
		__builtin_memcpy(seen->dst, &ip->daddr, 16);
		transport(skb, ip + 1, end, seen->length - sizeof(*ip), seen, &why);
		if (why)
			return to_engine(seen, why);
		numbers = (__be32)seen->src_port | (__be32)seen->dst_port << 16;
		key.numbers = numbers;
		words4(key.src, seen->src);
		words4(key.dst, seen->dst);
		key.protocol = seen->protocol;
		seen->tag = tag6(&key);
		flow = bpf_map_lookup_elem(&flows6, &key);
		if (!far && !flow && !seen->syn && !seen->fin && !seen->rst) {
			verdict = bpf_map_lookup_elem(&drops6, &key);
			if (verdict && ends_here(verdict, seen, data, end))
				return DROP;
		}
		if (!far && opens(seen) && (!flow || gives_way(flow))) {
			flow = 0;
			struct ask6 ask = {.slot = slot, .dst_port = seen->dst_port, .protocol = seen->protocol};

			words4(ask.src, seen->src);
			words4(ask.dst, seen->dst);
			decision = bpf_map_lookup_elem(&decisions6, &ask);
		}
	}
	if (decision)
		return new_connection(skb, decision, seen, numbers, data, end);
	if (!flow)
		return to_engine(seen, seen->syn || seen->fin || seen->rst ? COUNT_CONTROL : COUNT_NO_FLOW);
	/* One that opens a connection again on what was not seen to end is the engine's. */
	if (seen->syn && !seen->ack)
		return to_engine(seen, COUNT_CONTROL);
	return known(skb, flow, seen, data, end);
}

SEC("classifier")
int port_ingress(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u32 ifindex = skb->ifindex, zero = 0;
	struct ethhdr *ethernet = data;
	struct seen seen = {};

	if ((void *)(ethernet + 1) > end)
		return TO_ENGINE;
	if (ethernet->h_proto != bpf_htons(ETH_P_IP) && ethernet->h_proto != bpf_htons(ETH_P_IPV6))
		return TO_ENGINE;
	seen.port = bpf_map_lookup_elem(&ports, &ifindex);
	seen.counts = bpf_map_lookup_elem(&counts, &zero);
	seen.time = bpf_map_lookup_elem(&now, &zero);
	if (!seen.port || !seen.port->slot_and_one || !seen.counts || !seen.time)
		return TO_ENGINE;
	seen.clock = *(volatile __u32 *)&seen.time->now;
	if (skb->vlan_present)
		return to_engine(&seen, COUNT_ODD);
	return carry(skb, ethernet, data, end, seen.port->slot_and_one - 1, &seen, 0);
}

/* Whether frames at the VXLAN device can be of another host at all. */
static __always_inline int is_plain(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ethhdr *ethernet = data;

	return (void *)(ethernet + 1) <= end && !skb->vlan_present &&
	       (ethernet->h_proto == bpf_htons(ETH_P_IP) || ethernet->h_proto == bpf_htons(ETH_P_IPV6));
}

/* At tcx ingress of the VXLAN device, before all others: forwards what is known. What is not known here may be known to the
 * program of an engine before, which stands behind this one. */
SEC("classifier")
int wire_ingress(struct __sk_buff *skb)
{
	__u32 ifindex = skb->ifindex, zero = 0, *slot_and_one;
	struct label label = {};
	struct seen seen = {};
	void *data, *end;
	int verdict;

	skb->cb[0] = 0;
	/* Where there is no share: this one refuses nothing. */
	seen.port = bpf_map_lookup_elem(&ports, &ifindex);
	seen.counts = bpf_map_lookup_elem(&counts, &zero);
	seen.time = bpf_map_lookup_elem(&now, &zero);
	if (!seen.port || !seen.counts || !seen.time || !is_plain(skb) || !read_label(skb, &label))
		return TO_ENGINE;
	slot_and_one = bpf_map_lookup_elem(&wires, &label);
	if (!slot_and_one)
		return TO_ENGINE;
	seen.clock = *(volatile __u32 *)&seen.time->now;
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	if (data + ETH_HLEN > end)
		return TO_ENGINE;
	verdict = carry(skb, data, data, end, *slot_and_one - 1, &seen, 1);
	skb->cb[0] = seen.of_known;
	return verdict;
}

/* The place among the ports of the share of a label's host; none if no such host was named. */
static __always_inline __u32 *share_of(const struct label *label)
{
	struct label host = {.network = ANY_NETWORK, .v6 = label->v6};

	words4(host.host, label->host);
	return bpf_map_lookup_elem(&wires, &host);
}

/* There too, behind all those: what none of them knows is the engine's, with its label. Nobody is asked after this one, who
 * would read the label for a header. */
SEC("classifier")
int wire_label(struct __sk_buff *skb)
{
	struct sealed sealed = {};
	struct seen seen = {};
	struct own *us;
	__u32 zero = 0, place, *share;

	us = bpf_map_lookup_elem(&own, &zero);
	seen.counts = bpf_map_lookup_elem(&counts, &zero);
	seen.time = bpf_map_lookup_elem(&now, &zero);
	if (!us || !seen.counts || !seen.time)
		return DROP;
	if (!is_plain(skb) || !read_label(skb, &sealed.label))
		goto none;
	share = share_of(&sealed.label);
	if (!share)
		goto none;
	place = *share;
	seen.port = bpf_map_lookup_elem(&ports, &place);
	if (!seen.port || (!skb->cb[0] && !may_come(&seen)))
		return DROP;
	sealed.seal[0] = us->seal[0];
	sealed.seal[1] = us->seal[1];
	if (bpf_skb_adjust_room(skb, sizeof(sealed), BPF_ADJ_ROOM_MAC, LABEL_FLAGS) ||
	    bpf_skb_store_bytes(skb, ETH_HLEN, &sealed, sizeof(sealed), 0))
		goto none;
	return PASS;
none:
	seen.counts->of[COUNT_WIRE]++;
	return DROP;
}

/* At tcx egress of the VXLAN device: what the engine sends says by a label where it goes. What the kernel itself says there
 * (it looks for neighbours and routers at every device) has none, and stays here. */
SEC("classifier")
int wire_egress(struct __sk_buff *skb)
{
	struct around *around;
	struct sealed sealed;
	struct own *us;
	__u32 zero = 0;

	/* What was received before has come by the program at its port, which has said it. */
	if (skb->ingress_ifindex)
		return PASS;
	us = bpf_map_lookup_elem(&own, &zero);
	around = bpf_map_lookup_elem(&scratch, &zero);
	if (!us || !around || bpf_skb_load_bytes(skb, ETH_HLEN, &sealed, sizeof(sealed)) || sealed.seal[0] != us->seal[0] ||
	    sealed.seal[1] != us->seal[1] || !share_of(&sealed.label) ||
	    bpf_skb_adjust_room(skb, -(__s32)sizeof(sealed), BPF_ADJ_ROOM_MAC, LABEL_FLAGS))
		return DROP;
	surround(around, sealed.label.host, us->address, sealed.label.network, sealed.label.tag, sealed.label.v6);
	/* Where this host's address is of another family, the kernel chooses one. */
	if (us->v6 != sealed.label.v6)
		__builtin_memset(around->key.local_ipv6, 0, sizeof(around->key.local_ipv6));
	return put_around(skb, around, sealed.label.v6) ? PASS : DROP;
}

/* Run by the engine alone, over a frame that says behind its Ethernet header how many. */
SEC("classifier")
int renew(struct __sk_buff *skb)
{
	__u32 count = 0, n;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &count, sizeof(count)))
		return 0;
	for (n = 0; n < RENEWALS; n++) {
		if (n >= count)
			break;
		renew_one(n);
	}
	return 0;
}

/* None of the helpers above wants the GPL. */
char _license[] SEC("license") = "Apache-2.0";
