from programs.published.once import *
