from programs.published.growing import *
