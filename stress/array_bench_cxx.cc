/* SPDX-License-Identifier: BSD-2-Clause */
/* Arrays of C++: its own, and libowl's, which the process has opened before. */
#include <owl/array.hpp>

#include <deque>
#include <vector>

#include "array_bench.h"

namespace {

struct array_bench_result with_vector(std::size_t count, bool front)
{
    if (front)
        return array_bench_failed("has no push_front");
    struct array_bench_time began = array_bench_now();
    std::vector<double> v;
    for (std::size_t i = 0; i < count; i++)
        v.push_back(array_bench_number(i));
    struct array_bench_time took = array_bench_since(began);
    return array_bench_done(took, v.data(), count, front);
}

/* Its elements do not lie in a row, so only the last is looked at. */
struct array_bench_result with_deque(std::size_t count, bool front)
{
    struct array_bench_time began = array_bench_now();
    std::deque<double> d;
    if (front)
        for (std::size_t i = 0; i < count; i++)
            d.push_front(array_bench_number(i));
    else
        for (std::size_t i = 0; i < count; i++)
            d.push_back(array_bench_number(i));
    struct array_bench_result r = {array_bench_since(began), nullptr};
    if ((front ? d.front() : d.back()) != array_bench_number(count - 1))
        r.error = "the last element is not what was added";
    return r;
}

struct array_bench_result with_owl(std::size_t count, bool front)
{
    struct array_bench_time began = array_bench_now();
    auto a = owl::array<double>::with_reserve(std::size_t(1) << 40);
    if (front)
        for (std::size_t i = 0; i < count; i++)
            a.push_front(array_bench_number(i));
    else
        for (std::size_t i = 0; i < count; i++)
            a.push_back(array_bench_number(i));
    struct array_bench_time took = array_bench_since(began);
    return array_bench_done(took, a.data(), count, front);
}

} // namespace

extern "C" OWL_API const struct array_bench_way array_bench_ways[];
const struct array_bench_way array_bench_ways[] = {
    { "owl::array", with_owl }, { "vector", with_vector }, { "deque", with_deque },
    { nullptr, nullptr }
};
