/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * owl::array beside std::vector and std::deque: the same random operations on all, which then must
 * have the same elements. Prints TAP; exits with 1 if anything failed. C++11. An argument is how
 * many operations to do.
 */
#include <owl/array.hpp>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <list>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace {

int number, failures;
unsigned long operations = 20000;

#define require(holds)                                                                            \
    do                                                                                            \
        if (!(holds)) {                                                                           \
            std::printf("# line %d does not hold: %s\n", __LINE__, #holds);                       \
            return false;                                                                         \
        }                                                                                         \
    while (0)

void report(const char *name, bool ok)
{
    failures += !ok;
    std::printf("%sok %d - %s\n", ok ? "" : "not ", ++number, name);
    std::fflush(stdout);
}

/* Random enough, and the same each time (G. Marsaglia, "Xorshift RNGs", 2003). */
struct generator {
    std::uint64_t state;
    std::uint64_t operator()(std::uint64_t below)
    {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return (state * 0x2545f4914f6cdd1du >> 16) % below;
    }
};

struct point {
    std::int16_t x, y, z;
    bool operator==(const point &o) const { return x == o.x && y == o.y && z == o.z; }
    bool operator<(const point &o) const { return x < o.x; }
};

template <class T> T value_of(std::uint64_t n) { return T(n); }
template <> point value_of<point>(std::uint64_t n)
{
    return point{std::int16_t(n), std::int16_t(n >> 16), std::int16_t(n >> 32)};
}

template <class T>
bool same(const owl::array<T> &a, const std::vector<T> &v, const std::deque<T> &d)
{
    return a.size() == v.size() && a.empty() == v.empty() && d.size() == v.size() &&
           std::equal(a.begin(), a.end(), v.begin()) && std::equal(a.begin(), a.end(), d.begin()) &&
           std::equal(a.rbegin(), a.rend(), v.rbegin());
}

template <class T> void add(generator &random, owl::array<T> &a, std::vector<T> &v)
{
    T value = value_of<T>(random(1u << 30) << 20);
    std::size_t at = random(v.size() + 1), count = random(random(10) ? 10 : 2000);
    switch (random(10)) {
    case 0:
        a.insert(a.begin() + at, count, value);
        v.insert(v.begin() + at, count, value);
        break;
    case 1:
        a.insert(a.cbegin() + at, value);
        v.insert(v.begin() + at, value);
        break;
    case 2: {
        std::list<T> list(count, value);
        a.insert(a.cbegin() + at, list.begin(), list.end());
        v.insert(v.begin() + at, list.begin(), list.end());
        break;
    }
    case 3: {
        std::vector<T> some(v.begin() + at, v.end());
        a.insert(a.cbegin(), some.data(), some.data() + some.size());
        v.insert(v.begin(), some.begin(), some.end());
        break;
    }
    case 4:
        if (!v.empty()) {
            a.push_back(a[at % v.size()]);
            v.push_back(T(v[at % v.size()]));
        }
        break;
    case 5:
        a.insert(a.cbegin() + at, {value, value_of<T>(1)});
        v.insert(v.begin() + at, {value, value_of<T>(1)});
        break;
    case 6:
        a.emplace_front(value);
        v.insert(v.begin(), value);
        break;
    default:
        a.emplace_back(value) = value_of<T>(3);
        v.emplace_back(value_of<T>(3));
    }
}

template <class T> void take(generator &random, owl::array<T> &a, std::vector<T> &v)
{
    std::size_t at = random(v.size() + 1), to = at + random(v.size() - at + 1);
    switch (random(6)) {
    case 0:
        a.erase(a.begin() + at, a.begin() + to);
        v.erase(v.begin() + at, v.begin() + to);
        break;
    case 1:
        a.resize(at);
        v.resize(at);
        break;
    case 2:
        a.resize(at + 10, value_of<T>(9));
        v.resize(at + 10, value_of<T>(9));
        break;
    case 3:
        if (!v.empty()) {
            a.pop_front();
            v.erase(v.begin());
        }
        break;
    case 4:
        if (!v.empty()) {
            a.pop_back();
            v.pop_back();
        }
        break;
    default:
        if (at < v.size()) {
            a.erase(a.cbegin() + at);
            v.erase(v.begin() + at);
        }
    }
}

template <class T> void change(generator &random, owl::array<T> &a, std::vector<T> &v)
{
    std::size_t at = random(v.size() + 1);
    switch (random(9)) {
    case 0:
        a.reserve(at + random(5000));
        break;
    case 1:
        a.shrink_to_fit();
        break;
    case 2:
        a.reserve_front(random(5000));
        break;
    case 3:
        a = owl::array<T>(v.begin(), v.end());
        break;
    case 4:
        a = owl::array<T>::with_reserve(random(400000));
        a.append(v.data(), v.size());
        break;
    case 5:
        if (random(10) == 0) {
            a.clear();
            v.clear();
        }
        break;
    case 6:
        a.assign(at, value_of<T>(at));
        v.assign(at, value_of<T>(at));
        break;
    case 7: {
        owl::array<T> moved(std::move(a));
        a.swap(moved);
        break;
    }
    default:
        if (at < v.size()) {
            a[at] = v[at] = value_of<T>(at * 7);
            a.front() = v.front() = value_of<T>(5);
            a.back() = v.back() = a.at(at);
        }
    }
}

template <class T> bool random_operations()
{
    generator random = {sizeof(T) + 88172645463325252u};
    owl::array<T> a, copy;
    std::vector<T> v, old;
    for (unsigned long i = 0; i < operations; i++) {
        std::uint64_t kind = random(20);
        if (v.size() > 30000) {
            a.erase(a.cbegin(), a.cend() - 10);
            v.erase(v.begin(), v.end() - 10);
        }
        if (kind < 12)
            add(random, a, v);
        else if (kind < 16)
            take(random, a, v);
        else if (kind < 18)
            change(random, a, v);
        else if (kind == 18) {
            copy = a;
            old = v;
        } else {
            require(same(copy, old, std::deque<T>(old.begin(), old.end())));
        }
        const owl::array<T> &constant = a;
        require(constant.size() == v.size());
        if (i % 16 == 0)
            require(same(a, v, std::deque<T>(v.begin(), v.end())));
        require(v.empty() || (constant.front() == v.front() && constant.back() == v.back()));
        require((a < copy) == (v < old) && (a == copy) == (v == old));
        require(a.capacity() >= a.size());
    }
    return true;
}

bool copies_share_until_changed()
{
    owl::array<int> a(100000);
    const owl::array<int> b = a, &seen = a;
    require(b.data() == seen.data());
    a[5] = 1;
    require(b.data() != seen.data() && b[5] == 0 && a[5] == 1);
    owl::array<int> c(b), d;
    c.push_back(3);
    require(b.size() == 100000 && c.size() == 100001);
    d = b;
    d.clear();
    require(d.empty() && b.size() == 100000);
    return true;
}

bool copies_go_to_threads()
{
    owl::array<int> a;
    for (int i = 0; i < 50000; i++)
        a.push_back(i);
    std::vector<std::thread> threads;
    bool good[4] = {};
    for (int t = 0; t < 4; t++) {
        owl::array<int> copy = a;
        bool *done = good + t;
        threads.emplace_back([copy, done, t]() mutable {
            for (int i = 0; i < 100; i++) {
                owl::array<int> mine = copy;
                mine.push_back(t);
                mine[i] = -1;
                if (copy[i] != i || mine.back() != t)
                    return;
            }
            *done = true;
        });
    }
    a.push_front(7);
    for (auto &t : threads)
        t.join();
    require(good[0] && good[1] && good[2] && good[3] && a.front() == 7 && a[1] == 0);
    return true;
}

bool exceptions()
{
    owl::array<double> a = {1, 2, 3};
    int thrown = 0;
    try {
        a.at(3);
    } catch (const std::out_of_range &) {
        thrown++;
    }
    volatile std::size_t much = a.max_size();
    try {
        a.resize(much);
    } catch (const std::bad_alloc &) {
        thrown++;
    }
    try {
        a.reserve(std::size_t(-1));
    } catch (const std::bad_alloc &) {
        thrown++;
    }
    try {
        owl::array<double> b(std::size_t(-1) / 4);
    } catch (const std::bad_alloc &) {
        thrown++;
    }
    require(thrown == 4 && a == (owl::array<double>{1, 2, 3}));
    return true;
}

bool a_reserve_keeps_addresses()
{
    auto a = owl::array<double>::with_reserve(std::size_t(1) << 40);
    a.push_back(0);
    const double *first = a.data();
    for (int i = 1; i < 300000 && a.size() < a.capacity(); i++) {
        a.push_back(i);
        a.push_front(-i);
    }
    require(&a[a.size() / 2] == first && *first == 0);
    return true;
}

bool ways_to_make_one()
{
    owl::array<int> none, list = {3, 1, 2}, zeros(4), sevens(2, 7);
    std::istringstream text("5 6 7");
    owl::array<int> read((std::istream_iterator<int>(text)), std::istream_iterator<int>());
    require(none.empty() && none.begin() == none.end() && none.capacity() == 0);
    require(read == (owl::array<int>{5, 6, 7}) && zeros == (owl::array<int>{0, 0, 0, 0}));
    std::sort(list.begin(), list.end());
    require(list == (owl::array<int>{1, 2, 3}) && sevens.size() == 2 && sevens[1] == 7);
    owl::array<int> moved = std::move(list);
    require(list.empty() && moved.size() == 3);
    list = {1, 2};
    swap(list, moved);
    require(list.size() == 3 && moved.size() == 2 && list > moved && none < list && none != list);
    int sum = 0;
    for (int n : list)
        sum += n;
    require(sum == 6 && sizeof list == sizeof(void *));
    return true;
}

} // namespace

int main(int argc, char **argv)
{
    if (argc > 1)
        operations = std::strtoul(argv[1], nullptr, 10);
    report("random operations on int", random_operations<int>());
    report("random operations on char", random_operations<char>());
    report("random operations on double", random_operations<double>());
    report("random operations on a struct of 6 bytes", random_operations<point>());
    report("copies share their elements until one is changed", copies_share_until_changed());
    report("threads have copies", copies_go_to_threads());
    report("what cannot be done throws", exceptions());
    report("with a reserve addresses stay", a_reserve_keeps_addresses());
    report("constructors, assignment, comparison", ways_to_make_one());
    std::printf("1..%d\n", number);
    return failures != 0;
}
