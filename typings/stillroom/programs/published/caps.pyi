from programs.published.caps import *
