from programs.published.asked import *
