# SPDX-License-Identifier: BSD-2-Clause
#
# What stress/bench runs in Perl: hashes, lists and text. The argument is how many times all of it
# is done; the output depends on that alone.

use strict;
use warnings;

sub work {
    my (%count, @rows);
    for my $i (0 .. 29999) {
        my $name = "word" . ($i * 7919 % 20011);
        $count{$name}++;
        push @rows, { name => $name, number => $i, list => [ $i, $i + 1, "item $i" ] };
    }
    my @sorted = sort { $a->{name} cmp $b->{name} || $a->{number} <=> $b->{number} } @rows;
    my $text = join "\n", map { "$_->{name}: " . join(',', @{ $_->{list} }) } @sorted;
    my $found = () = $text =~ /item \d*7\b/g;
    my %turned = map { reverse split /: /, $_, 2 } split /\n/, $text;
    return join ' ', scalar(keys %count), length $text, $found, scalar keys %turned;
}

my $result;
$result = work() for 1 .. $ARGV[0];
print "$result\n";
