/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Acceptance: the C++ operators new and delete, in a program that is linked with libowl.so or has
 * it preloaded. Prints TAP; exits with 1 if anything failed. C++17.
 */
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include <dlfcn.h>

#ifndef __cpp_sized_deallocation /* clang hides them unless it is told to use them */
void operator delete(void *p, std::size_t size) noexcept;
void operator delete[](void *p, std::size_t size) noexcept;
void operator delete(void *p, std::size_t size, std::align_val_t alignment) noexcept;
void operator delete[](void *p, std::size_t size, std::align_val_t alignment) noexcept;
#endif

namespace {

int number, failures;

void report(const char *name, bool ok)
{
    failures += !ok;
    std::printf("%sok %d - %s\n", ok ? "" : "not ", ++number, name);
    std::fflush(stdout);
}

#define run(function) report(#function, function())

#define require(holds)                                                                            \
    do                                                                                            \
        if (!(holds)) {                                                                           \
            std::printf("# line %d does not hold: %s\n", __LINE__, #holds);                       \
            return false;                                                                         \
        }                                                                                         \
    while (0)

/* Keep the compiler from leaving out a pair of new and delete. */
template <class T> T *opaque(T *p)
{
    __asm__ volatile("" : "+r"(p));
    return p;
}

std::size_t opaque_size(std::size_t n)
{
    __asm__ volatile("" : "+r"(n));
    return n;
}

const std::size_t huge = SIZE_MAX / 2 - 100;

std::size_t usable_size(void *p)
{
    auto f = reinterpret_cast<std::size_t (*)(const void *)>(
        dlsym(RTLD_DEFAULT, "owl_malloc_usable_size"));
    return f != nullptr ? f(p) : 0;
}

/* Ours, and as large and aligned as asked for. */
bool is_good(void *p, std::size_t size, std::size_t alignment)
{
    if (p == nullptr || reinterpret_cast<std::uintptr_t>(p) % alignment != 0 ||
        usable_size(p) < size)
        return false;
    std::memset(opaque(p), 0x5a, size);
    return true;
}

bool library_is_in_use()
{
    Dl_info of_new, of_version;
    void *version = dlsym(RTLD_DEFAULT, "owl_version");
    require(version != nullptr);
    require(dladdr(dlsym(RTLD_DEFAULT, "_Znwm"), &of_new) != 0);
    require(dladdr(version, &of_version) != 0);
    require(std::strcmp(of_new.dli_fname, of_version.dli_fname) == 0);
    return true;
}

bool plain_forms()
{
    for (std::size_t size = 0; size < 2000000; size = size * 3 + 1) {
        void *p = opaque(::operator new(size)), *q = opaque(::operator new[](size));
        require(is_good(p, size, 16) && is_good(q, size, 16) && p != q);
        ::operator delete(p);
        ::operator delete[](q);
        p = opaque(::operator new(size));
        q = opaque(::operator new[](size));
        ::operator delete(p, size);
        ::operator delete[](q, size);
    }
    ::operator delete(nullptr);
    ::operator delete[](nullptr);
    return true;
}

bool nothrow_forms()
{
    for (std::size_t size = 0; size < 2000000; size = size * 3 + 1) {
        void *p = opaque(::operator new(size, std::nothrow));
        void *q = opaque(::operator new[](size, std::nothrow));
        require(is_good(p, size, 16) && is_good(q, size, 16));
        ::operator delete(p, std::nothrow);
        ::operator delete[](q, std::nothrow);
    }
    return true;
}

bool aligned_forms()
{
    for (std::size_t a = 1; a <= 4u << 20; a *= 2)
        for (std::size_t size = 1; size < 300000; size *= 17) {
            auto alignment = std::align_val_t(a);
            void *p = opaque(::operator new(size, alignment));
            void *q = opaque(::operator new[](size, alignment));
            void *r = opaque(::operator new(size, alignment, std::nothrow));
            void *s = opaque(::operator new[](size, alignment, std::nothrow));
            require(is_good(p, size, a) && is_good(q, size, a));
            require(is_good(r, size, a) && is_good(s, size, a));
            ::operator delete(p, alignment);
            ::operator delete[](q, alignment);
            ::operator delete(r, alignment, std::nothrow);
            ::operator delete[](s, alignment, std::nothrow);
            p = opaque(::operator new(size, alignment));
            q = opaque(::operator new[](size, alignment));
            ::operator delete(p, size, alignment);
            ::operator delete[](q, size, alignment);
        }
    return true;
}

template <class F> bool throws_bad_alloc(F f)
{
    try {
        ::operator delete(opaque(f()));
    } catch (const std::bad_alloc &) {
        return true;
    }
    return false;
}

bool failing_new_throws()
{
    auto alignment = std::align_val_t(64);
    require(throws_bad_alloc([] { return ::operator new(opaque_size(huge)); }));
    require(throws_bad_alloc([] { return ::operator new[](opaque_size(huge)); }));
    require(throws_bad_alloc([] { return ::operator new(opaque_size(SIZE_MAX)); }));
    require(throws_bad_alloc([=] { return ::operator new(opaque_size(huge), alignment); }));
    require(throws_bad_alloc([=] { return ::operator new[](opaque_size(huge), alignment); }));
    require(throws_bad_alloc([] { return new double[opaque_size(SIZE_MAX / 4)]; }));
    return true;
}

bool failing_nothrow_gives_null()
{
    auto alignment = std::align_val_t(64);
    require(::operator new(opaque_size(huge), std::nothrow) == nullptr);
    require(::operator new[](opaque_size(huge), std::nothrow) == nullptr);
    require(::operator new(opaque_size(huge), alignment, std::nothrow) == nullptr);
    require(::operator new[](opaque_size(huge), alignment, std::nothrow) == nullptr);
    return true;
}

int handler_calls;

void handler()
{
    if (++handler_calls % 3 == 0)
        std::set_new_handler(nullptr);
}

/* The handler is called until there is memory or no handler any more. */
template <class F> bool calls_handler(F f)
{
    handler_calls = 0;
    std::set_new_handler(handler);
    bool thrown = false;
    void *p = nullptr;
    try {
        p = f();
    } catch (const std::bad_alloc &) {
        thrown = true;
    }
    std::set_new_handler(nullptr);
    if (handler_calls != 3)
        std::printf("# %d calls of the new-handler\n", handler_calls);
    return handler_calls == 3 && (thrown || p == nullptr);
}

bool new_handler_is_called()
{
    auto alignment = std::align_val_t(4096);
    require(calls_handler([] { return ::operator new(opaque_size(huge)); }));
    require(calls_handler([] { return ::operator new[](opaque_size(huge)); }));
    require(calls_handler([=] { return ::operator new(opaque_size(huge), alignment); }));
    require(calls_handler([=] { return ::operator new[](opaque_size(huge), alignment); }));
    return true;
}

/* C++17, 21.6.2.1: the nothrow forms call the others, and so the handler. */
bool new_handler_is_called_by_nothrow_forms()
{
    auto alignment = std::align_val_t(4096);
    require(calls_handler([] { return ::operator new(opaque_size(huge), std::nothrow); }));
    require(calls_handler([] { return ::operator new[](opaque_size(huge), std::nothrow); }));
    require(calls_handler(
        [=] { return ::operator new(opaque_size(huge), alignment, std::nothrow); }));
    require(calls_handler(
        [=] { return ::operator new[](opaque_size(huge), alignment, std::nothrow); }));
    return true;
}

struct thrower {
    thrower()
    {
        throw 42;
    }
    char bytes[500];
};

struct alignas(256) aligned_thrower : thrower {
};

/* A constructor that throws: the run time frees the block. */
bool throwing_constructors()
{
    for (int i = 0; i < 1000; i++) {
        int caught = 0;
        try {
            opaque(new thrower);
        } catch (int) {
            caught++;
        }
        try {
            opaque(new (std::nothrow) thrower);
        } catch (int) {
            caught++;
        }
        try {
            opaque(new aligned_thrower[3]);
        } catch (int) {
            caught++;
        }
        require(caught == 3);
    }
    return true;
}

bool containers_in_threads()
{
    std::vector<std::thread> threads;
    std::vector<std::size_t> sums(4);
    for (std::size_t t = 0; t < sums.size(); t++)
        threads.emplace_back([t, &sums] {
            std::map<std::string, std::vector<std::string>> m;
            for (int i = 0; i < 3000; i++)
                m["key " + std::to_string(i % 100)].push_back(std::string(i % 300, 'x'));
            for (auto &[key, values] : m)
                for (auto &v : values)
                    sums[t] += key.size() + v.size();
        });
    for (auto &t : threads)
        t.join();
    for (auto sum : sums)
        require(sum == sums[0] && sum > 0);
    return true;
}

} // namespace

int main()
{
    run(library_is_in_use);
    run(plain_forms);
    run(nothrow_forms);
    run(aligned_forms);
    run(failing_new_throws);
    run(failing_nothrow_gives_null);
    run(new_handler_is_called);
    run(new_handler_is_called_by_nothrow_forms);
    run(throwing_constructors);
    run(containers_in_threads);
    std::printf("1..%d\n", number);
    return failures > 0;
}
