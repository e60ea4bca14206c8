/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A program with a search tree (a treap: ordered by key, a heap by priority): each node has a key
 * and a value, strings of their own. Keys are inserted, found and erased at random, and values are
 * replaced by others of other lengths.
 */
#include <stdio.h>
#include <string.h>

#include "bench_work.h"

enum { KEYS = 60000, KEY_MOST = 48, VALUE_MOST = 200 };

struct node {
    struct node *left;
    struct node *right;
    char *key;
    char *value;
    uint64_t priority;
};

struct tree {
    struct node *root;
    uint64_t random;
    uint64_t nodes;
    uint64_t sum;
};

static char *text_new(const char *text)
{
    size_t size = strlen(text) + 1;

    return memcpy(bench_malloc(size), text, size);
}

static char *value_new(struct tree *t)
{
    char text[VALUE_MOST];
    size_t length = 8 + bench_below(&t->random, VALUE_MOST - 8);

    memset(text, 'v', length);
    text[length - 1] = '\0';
    return text_new(text);
}

/* Keys are of different lengths, and not in the order of their numbers. */
static void key_print(char *text, uint32_t number)
{
    unsigned length = number % 17;

    snprintf(text, KEY_MOST, "%08x%.*s%u", (uint32_t)work_mix(number), (int)length,
             "/a/path/of/names/", number);
}

static void node_end(struct node *n)
{
    free(n->key);
    free(n->value);
    free(n);
}

/* All nodes below `key` to *low, the others to *high. */
static void split(struct node *n, const char *key, struct node **low, struct node **high)
{
    while (n != NULL)
        if (strcmp(n->key, key) < 0) {
            *low = n;
            low = &n->right;
            n = n->right;
        } else {
            *high = n;
            high = &n->left;
            n = n->left;
        }
    *low = NULL;
    *high = NULL;
}

/* One tree of two, all of whose keys in `low` are below those in `high`. */
static struct node *join(struct node *low, struct node *high)
{
    struct node *first;
    struct node **end = &first;

    while (low != NULL && high != NULL)
        if (low->priority > high->priority) {
            *end = low;
            end = &low->right;
            low = low->right;
        } else {
            *end = high;
            end = &high->left;
            high = high->left;
        }
    *end = low != NULL ? low : high;
    return first;
}

/* Where the node with that key is, or where the search for it ends. */
static struct node **find(struct tree *t, const char *key)
{
    struct node **place = &t->root;

    while (*place != NULL) {
        int order = strcmp(key, (*place)->key);

        if (order == 0)
            break;
        place = order < 0 ? &(*place)->left : &(*place)->right;
    }
    return place;
}

static void insert(struct tree *t, const char *key)
{
    struct node *n = bench_malloc(sizeof(*n));
    struct node **place = &t->root;

    n->key = text_new(key);
    n->value = value_new(t);
    n->priority = work_random(&t->random);
    while (*place != NULL && (*place)->priority > n->priority)
        place = strcmp(key, (*place)->key) < 0 ? &(*place)->left : &(*place)->right;
    split(*place, key, &n->left, &n->right);
    *place = n;
    t->nodes++;
}

/* A key that is there loses its node, or gets another value; one that is not is inserted. */
static void change(struct tree *t)
{
    char key[KEY_MOST];
    struct node **place;
    struct node *n;

    key_print(key, bench_below(&t->random, KEYS));
    place = find(t, key);
    n = *place;
    if (n == NULL) {
        insert(t, key);
    } else if (bench_below(&t->random, 2) == 0) {
        t->sum += strlen(n->value);
        *place = join(n->left, n->right);
        node_end(n);
        t->nodes--;
    } else {
        free(n->value);
        n->value = value_new(t);
    }
}

/* Take all nodes out in their order, by rotation to the right, and count them. */
static void take_apart(struct tree *t)
{
    char last[KEY_MOST] = "";

    while (t->root != NULL) {
        struct node *n = t->root;
        struct node *left = n->left;

        if (left != NULL) {
            n->left = left->right;
            left->right = n;
            t->root = left;
            continue;
        }
        if (strcmp(last, n->key) >= 0)
            bench_fail("the tree is not in order at %s", n->key);
        snprintf(last, sizeof(last), "%s", n->key);
        t->root = n->right;
        node_end(n);
        t->nodes--;
    }
    if (t->nodes != 0)
        bench_fail("nodes of the tree are lost");
}

uint64_t bench_tree(struct bench *b)
{
    struct tree t = { .random = bench_seed(b, 0) };

    for (uint64_t left = bench_count(b, 1e6); left > 0; left--)
        change(&t);
    t.sum += t.nodes << 40;
    take_apart(&t);
    return t.sum;
}
