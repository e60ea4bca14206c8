/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * owl::array<T>: std::vector's verbs, and push_front, on the arrays of owl/array.h. C++11 and
 * later, header only, linked with libowl.
 *
 * T is trivially copyable, of alignment 16 at most: elements are moved as bytes. All is as with
 * std::vector, but for this:
 *
 *   - Copying takes constant time. Copies share their elements until one of them is changed, or
 *     handed out by a member function that is not const (operator[], data, begin, ...), which then
 *     has elements of its own. So do not write through a pointer, reference or iterator that is
 *     older than a copy. Threads that have a copy each need no lock.
 *   - array<T>::with_reserve(n) has room for n elements at each end, in addresses of its own, which
 *     take no memory until they are used; n may be far larger than memory. Up to capacity()
 *     elements none moves.
 *   - Elements that are added by resize(n) or array(n) are zero bytes, whatever T() is.
 *   - Inserting at the front takes as long as at the back.
 *
 * Functions that need memory and get none throw std::bad_alloc, and leave the array as it was; at()
 * throws std::out_of_range. sizeof is that of a pointer. An array is used by one thread at a time.
 */
#ifndef OWL_ARRAY_HPP
#define OWL_ARRAY_HPP

#include <owl/array.h>

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <iterator>
#include <new>
#include <stdexcept>
#include <type_traits>
#include <utility>

namespace owl {

template <class T> class array {
    static_assert(std::is_trivially_copyable<T>::value, "elements are moved as bytes");
    static_assert(alignof(T) <= 16, "elements are aligned to 16 bytes at most");
    template <class I>
    using input = typename std::enable_if<!std::is_integral<I>::value>::type;

public:
    using value_type = T;
    using size_type = std::size_t;
    using difference_type = std::ptrdiff_t;
    using reference = T &;
    using const_reference = const T &;
    using pointer = T *;
    using const_pointer = const T *;
    using iterator = T *;
    using const_iterator = const T *;
    using reverse_iterator = std::reverse_iterator<iterator>;
    using const_reverse_iterator = std::reverse_iterator<const_iterator>;

    array() noexcept : a(nothing()) {}
    explicit array(size_type count) : array() { resize(count); }
    array(size_type count, const T &value) : array() { resize(count, value); }
    template <class I, class = input<I>> array(I from, I to) : array()
    {
        insert(cend(), from, to);
    }
    array(std::initializer_list<T> list) : array() { append(list.begin(), list.size()); }
    array(const array &other) noexcept
        : a(other.is_nothing() ? nothing() : owl_array_ref(other.a))
    {
    }
    array(array &&other) noexcept : a(other.a) { other.a = nothing(); }
    ~array()
    {
        if (!is_nothing())
            owl_array_release(a);
    }

    static array with_reserve(size_type count)
    {
        array made;
        made.a = good(owl_array_new(sizeof(T), count));
        return made;
    }

    array &operator=(const array &other) noexcept
    {
        array(other).swap(*this);
        return *this;
    }
    array &operator=(array &&other) noexcept
    {
        array(std::move(other)).swap(*this);
        return *this;
    }
    array &operator=(std::initializer_list<T> list)
    {
        array(list).swap(*this);
        return *this;
    }
    void assign(size_type count, const T &value) { array(count, value).swap(*this); }
    void assign(std::initializer_list<T> list) { array(list).swap(*this); }
    template <class I, class = input<I>> void assign(I from, I to) { array(from, to).swap(*this); }

    size_type size() const noexcept { return size_type(last() - start()); }
    bool empty() const noexcept { return a->first == a->end; }
    size_type max_size() const noexcept { return size_type(-1) / 2 / sizeof(T); }

    /* How many elements there may be before one moves, by adding at the back, or at the front. */
    size_type capacity() const noexcept { return is_nothing() ? 0 : owl_array_capacity(a); }
    size_type capacity_front() const noexcept
    {
        return is_nothing() ? 0 : owl_array_capacity_front(a);
    }

    const T *data() const noexcept { return start(); }
    const T &operator[](size_type at) const noexcept { return start()[at]; }
    const T &at(size_type at) const { return start()[checked(at)]; }
    const T &front() const noexcept { return *start(); }
    const T &back() const noexcept { return last()[-1]; }
    const_iterator begin() const noexcept { return start(); }
    const_iterator end() const noexcept { return last(); }
    const_iterator cbegin() const noexcept { return start(); }
    const_iterator cend() const noexcept { return last(); }
    const_reverse_iterator rbegin() const noexcept { return const_reverse_iterator(last()); }
    const_reverse_iterator rend() const noexcept { return const_reverse_iterator(start()); }

    /* These may copy, once after the array was copied, and so may throw. */
    T *data() { return own(), start(); }
    T &operator[](size_type at) { return own(), start()[at]; }
    T &at(size_type at) { return checked(at), own(), start()[at]; }
    T &front() { return own(), *start(); }
    T &back() { return own(), last()[-1]; }
    iterator begin() { return own(), start(); }
    iterator end() { return own(), last(); }
    reverse_iterator rbegin() { return own(), reverse_iterator(last()); }
    reverse_iterator rend() { return own(), reverse_iterator(start()); }

    /* Both branches end with a store, as in owl/array.h. */
    void push_back(const T &value)
    {
        T *to = last();
        if (OWL_ARRAY_RARELY(a->end >= a->limit)) {
            append(&value, 1);
            to = last();
        } else {
            ::new (static_cast<void *>(to++)) T(value);
        }
        a->end = to;
    }
    void push_front(const T &value)
    {
        T *to = start();
        if (OWL_ARRAY_RARELY(a->first <= a->floor)) {
            prepend(&value, 1);
            to = start();
        } else {
            ::new (static_cast<void *>(--to)) T(value);
        }
        a->first = to;
    }
    template <class... A> T &emplace_back(A &&...arguments)
    {
        push_back(T(std::forward<A>(arguments)...));
        return last()[-1];
    }
    template <class... A> T &emplace_front(A &&...arguments)
    {
        push_front(T(std::forward<A>(arguments)...));
        return *start();
    }
    void pop_back() { erase_at(size() - 1, 1); }
    void pop_front() { erase_at(0, 1); }

    /* `count` elements at once, which may be some of the array's own. */
    void append(const T *elements, size_type count)
    {
        a = good(owl_array_append(some(), elements, count));
    }
    void prepend(const T *elements, size_type count)
    {
        a = good(owl_array_prepend(some(), elements, count));
    }

    iterator insert(const_iterator at, const T &value) { return insert_at(index(at), &value, 1); }
    iterator insert(const_iterator at, size_type count, const T &value)
    {
        size_type i = index(at);
        T copy = value;
        T *to = insert_at(i, nullptr, count);
        std::fill_n(to, count, copy);
        return to;
    }
    iterator insert(const_iterator at, std::initializer_list<T> list)
    {
        return insert_at(index(at), list.begin(), list.size());
    }
    template <class I, class = input<I>> iterator insert(const_iterator at, I from, I to)
    {
        return insert_range(index(at), from, to);
    }
    template <class... A> iterator emplace(const_iterator at, A &&...arguments)
    {
        return insert(at, T(std::forward<A>(arguments)...));
    }

    iterator erase(const_iterator at) { return erase_at(index(at), 1); }
    iterator erase(const_iterator from, const_iterator to)
    {
        return erase_at(index(from), size_type(to - from));
    }
    void clear() { erase_at(0, size()); }

    void resize(size_type count)
    {
        size_type has = size();
        if (count < has)
            erase_at(count, has - count);
        else if (count > has)
            append(nullptr, count - has);
    }
    void resize(size_type count, const T &value)
    {
        if (count > size())
            insert(cend(), count - size(), value);
        else
            resize(count);
    }

    /* Room for `count` elements in all, by adding at the back; for so many more at the front. */
    void reserve(size_type count)
    {
        if (count > size())
            a = good(owl_array_reserve(some(), 0, count - size()));
    }
    void reserve_front(size_type more) { a = good(owl_array_reserve(some(), more, 0)); }
    void shrink_to_fit()
    {
        if (!is_nothing())
            a = good(owl_array_shrink(a));
    }

    void swap(array &other) noexcept { std::swap(a, other.a); }
    friend void swap(array &x, array &y) noexcept { x.swap(y); }

    friend bool operator==(const array &x, const array &y)
    {
        return x.size() == y.size() && std::equal(x.cbegin(), x.cend(), y.cbegin());
    }
    friend bool operator<(const array &x, const array &y)
    {
        return std::lexicographical_compare(x.cbegin(), x.cend(), y.cbegin(), y.cend());
    }
    friend bool operator!=(const array &x, const array &y) { return !(x == y); }
    friend bool operator>(const array &x, const array &y) { return y < x; }
    friend bool operator<=(const array &x, const array &y) { return !(y < x); }
    friend bool operator>=(const array &x, const array &y) { return !(x < y); }

private:
    struct owl_array *a; /* never NULL */

    /* What an array is before it has an element: without room, and never written to. Not known
     * by its address, for each shared library may have one of its own. */
    static struct owl_array *nothing() noexcept
    {
        static struct owl_array none = {nullptr, nullptr, nullptr, nullptr, 0, 0};
        return &none;
    }
    bool is_nothing() const noexcept { return a->element_bytes == 0; }

    T *start() const noexcept { return static_cast<T *>(a->first); }
    T *last() const noexcept { return static_cast<T *>(a->end); }
    size_type index(const_iterator at) const noexcept { return size_type(at - start()); }
    size_type checked(size_type at) const
    {
        if (at >= size())
            throw std::out_of_range("owl::array");
        return at;
    }

    static struct owl_array *good(struct owl_array *result)
    {
        if (result == nullptr)
            throw std::bad_alloc();
        return result;
    }
    struct owl_array *some()
    {
        if (is_nothing())
            a = good(owl_array_new(sizeof(T), 0));
        return a;
    }
    void own()
    {
        if (OWL_ARRAY_RARELY(a->shared))
            a = good(owl_array_own(a));
    }

    T *insert_at(size_type at, const T *elements, size_type count)
    {
        if (count > 0)
            a = good(owl_array_insert(some(), at, elements, count));
        return own(), start() + at;
    }
    T *erase_at(size_type at, size_type count)
    {
        if (count > 0)
            a = good(owl_array_erase(a, at, count));
        return own(), start() + at;
    }
    template <class I> T *insert_range(size_type at, I from, I to)
    {
        array all;
        for (; from != to; ++from)
            all.push_back(*from);
        return insert_at(at, all.start(), all.size());
    }
    T *insert_range(size_type at, T *from, T *to)
    {
        return insert_at(at, from, size_type(to - from));
    }
    T *insert_range(size_type at, const T *from, const T *to)
    {
        return insert_at(at, from, size_type(to - from));
    }
};

} // namespace owl

#endif
