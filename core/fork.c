/* SPDX-License-Identifier: BSD-2-Clause */
#include "fork.h"

#include <pthread.h>

#include "cache.h"
#include "mapping.h"
#include "pool.h"

static void prepare(void)
{
    owl_cache_fork_prepare();
    owl_mapping_fork_prepare();
    owl_pool_fork_prepare();
}

static void parent(void)
{
    owl_pool_fork_parent();
    owl_mapping_fork_parent();
    owl_cache_fork_parent();
}

static void child(void)
{
    owl_pool_fork_child();
    owl_mapping_fork_child();
    owl_cache_fork_child();
}

void owl_fork_register(void)
{
    pthread_atfork(prepare, parent, child);
}
