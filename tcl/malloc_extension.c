/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The functions of gperftools' C interface (malloc_extension_c.h) that NaviServer looks up to fill
 * `ns_info meminfo ?-release?`. It does so if LD_PRELOAD names a file with "tcmalloc" in its name,
 * which is why this library has a second name.
 */
#include <stdio.h>
#include <string.h>

#include <owl/owl.h>

#define EXPORT __attribute__((visibility("default")))

EXPORT const char *tc_version(int *major, int *minor, const char **patch);
EXPORT void MallocExtension_GetStats(char *text, int size);
EXPORT void MallocExtension_ReleaseFreeMemory(void);
EXPORT int MallocExtension_GetNumericProperty(const char *name, size_t *value);

/* owlalloc's own version; the numbers are those of the text. */
const char *tc_version(int *major, int *minor, const char **patch)
{
    int numbers[2] = {0, 0};
    sscanf(owl_version(), "%d.%d", &numbers[0], &numbers[1]);
    if (major != NULL)
        *major = numbers[0];
    if (minor != NULL)
        *minor = numbers[1];
    if (patch != NULL)
        *patch = "";
    return owl_version();
}

/* The first of its lines is the one that people look for. */
void MallocExtension_GetStats(char *text, int size)
{
    struct mallinfo2 m = owl_mallinfo2();
    if (size > 0)
        snprintf(text, (size_t)size,
                 "owlalloc %s\n"
                 "MALLOC: %15zu bytes in use by application\n"
                 "MALLOC: %15zu bytes free, or in thread caches\n"
                 "MALLOC: %15zu bytes from the system\n",
                 owl_version(), m.uordblks + m.hblkhd, m.fordblks, m.arena + m.hblkhd);
}

/* 1 if there is a property of that name. */
int MallocExtension_GetNumericProperty(const char *name, size_t *value)
{
    struct mallinfo2 m = owl_mallinfo2();
    if (strcmp(name, "generic.current_allocated_bytes") == 0)
        *value = m.uordblks + m.hblkhd;
    else if (strcmp(name, "generic.heap_size") == 0)
        *value = m.arena + m.hblkhd;
    else if (strcmp(name, "tcmalloc.pageheap_free_bytes") == 0)
        *value = m.keepcost;
    else if (strcmp(name, "tcmalloc.current_total_thread_cache_bytes") == 0)
        *value = m.fordblks - m.keepcost;
    else
        return 0;
    return 1;
}

void MallocExtension_ReleaseFreeMemory(void)
{
    owl_malloc_trim(0);
}
