# Which Ruby an app wants, and which of those there are fits best. Run by the build stack's own Ruby.
#
#   version.rb wanted                        prints what the files of the working directory ask for
#   version.rb best REQUIREMENT < VERSIONS   prints the newest version that fits, if one does

# What the lock file notes came from the Gemfile when it was written, and is exact.
def locked
  File.read("Gemfile.lock")[/^RUBY VERSION\s+ruby (\d+\.\d+\.\d+)/, 1] if File.file?("Gemfile.lock")
end

def from_file(name)
  line = File.foreach(name).map { |text| text.sub(/#.*/, "").strip }.find { |text| !text.empty? }
  line.to_s.sub(/\Aruby-/, "")
end

# `ruby "3.3.0"`, `ruby ">= 3.1", "< 3.4"` or `ruby file: ".ruby-version"`.
def from_gemfile
  line = File.foreach("Gemfile").grep(/^\s*ruby[\s(]/).first or return
  engine = line[/engine:\s*["'](\w+)["']/, 1] || "ruby"
  abort "only CRuby is available here, and the Gemfile asks for #{engine}" if engine != "ruby"
  file = line[/file:\s*["']([^"']+)["']/, 1]
  return from_file(file) if file

  line.sub(/,\s*\w+:.*/, "").scan(/["']([^"']+)["']/).join(", ")
end

case ARGV.shift
when "wanted"
  asked = locked || from_gemfile
  asked ||= from_file(".ruby-version") if File.file?(".ruby-version")
  puts asked
when "best"
  # A bare number means the line it begins: 3.3 is any 3.3.x.
  parts = ARGV.shift.split(",").map(&:strip)
  parts = parts.map { |part| part.match?(/\A\d+(\.\d+)?\z/) ? "~> #{part}.0" : part }
  requirement = Gem::Requirement.new(*parts)
  fits = $stdin.each_line(chomp: true).select { |version| requirement.satisfied_by?(Gem::Version.new(version)) }
  puts fits.max_by { |version| Gem::Version.new(version) }
end
