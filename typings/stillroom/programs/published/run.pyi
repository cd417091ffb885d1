from programs.published.run import *
