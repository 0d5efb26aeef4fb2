/* SPDX-License-Identifier: Apache-2.0
 *
 * Kept answers that the engine has looked at again after a change: they hold for another generation. Done here, many at a
 * time, since from outside an entry can only be replaced as a whole, with the counts that packets meanwhile add to.
 */
#ifndef ATOLL_RENEW_H
#define ATOLL_RENEW_H

#include "packet.h"
#include "tables.h"

/* Does the nth of what stands in `renewals`, if the entry says what the engine's does. */
static __noinline int renew_one(__u32 n)
{
	struct renewal *its = bpf_map_lookup_elem(&renewals, &n);
	struct flow *flow;
	__u32 tag;

	if (!its)
		return 0;
	if (its->v6) {
		struct key6 key = its->key;

		tag = tag6(&key);
		flow = bpf_map_lookup_elem(&flows6, &key);
	} else {
		struct key4 key = {
			.slot = its->key.slot,
			.numbers = its->key.numbers,
			.src = its->key.src[0],
			.dst = its->key.dst[0],
			.protocol = its->key.protocol,
		};

		tag = tag4(&key);
		flow = bpf_map_lookup_elem(&flows4, &key);
	}
	if (flow && flow->tag == tag && flow->path == its->path && flow->path_version == its->path_version &&
	    flow->number == its->number)
		*(volatile __u32 *)&flow->generation = its->generation;
	return 0;
}

#endif
