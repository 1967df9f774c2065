# The body of every fake tool: asks the world over its socket, prints what it says, ends with its
# exit code. It alone writes the effect log, by appending one line before the world may begin.
# Perl like the real tools, because it starts in 10 ms and hundreds of them run in one test.
# It dies of a broken pipe when nobody reads what it prints, and the world ends its task then.
# Arguments: socket, node, effect log, tool name, then those of the real tool.
use strict;
use warnings;
use Fcntl qw(O_WRONLY O_APPEND O_CREAT);
use IO::Socket::UNIX;

$SIG{PIPE} = 'DEFAULT';

my ($path, $node, $effect_log, $tool, @argv) = @ARGV;
my $socket = IO::Socket::UNIX->new(Peer => $path);
if (!$socket) {
    print STDERR "$tool: the world does not answer: $!\n";
    exit 255;
}
my $call = join("\0", $node, $tool, @argv);
$socket->autoflush(1);
print $socket length($call), "\n", $call;

while (defined(my $head = <$socket>)) {
    my ($step, $count) = $head =~ /^(\w+) (\d+)$/ or last;
    exit $count if $step eq 'exit';
    my $text = '';
    last if $count > 0 && read($socket, $text, $count) != $count;
    if ($step eq 'out') {
        syswrite(STDOUT, $text);
    } elsif ($step eq 'err') {
        syswrite(STDERR, $text);
    } else {
        # One write, so that the lines of tools that run at once never mix.
        sysopen(my $log, $effect_log, O_WRONLY | O_APPEND | O_CREAT) or last;
        syswrite($log, $text) == $count or last;
        close($log) or last;
        print $socket "logged\n";
    }
}
exit 255;
